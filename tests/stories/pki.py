"""A test authority: its certificate, one of this machine's server (by address, not by name), and one of a client."""
import datetime
import ipaddress
import os

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def certificates(folder, device):
    """Files of an authority, of this machine's server and of a device, by name."""
    now = datetime.datetime.now(datetime.timezone.utc)
    files, authority = {}, None
    for name, common in (("ca", "Test authority"), ("server", "localhost"), ("device", device)):
        key, subject = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])
        issuer, signer = authority or (subject, key)
        builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key()).serial_number(x509.random_serial_number())
                   .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=2))
                   .add_extension(x509.BasicConstraints(ca=name == "ca", path_length=None), critical=True))
        if name == "server":
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        certificate = builder.sign(signer, hashes.SHA256())
        authority = authority or (subject, key)
        for kind, data in (("cert", certificate.public_bytes(serialization.Encoding.PEM)),
                           ("key", key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))):
            files[f"{name}_{kind}"] = os.path.join(folder, f"{name}_{kind}.pem")
            with open(files[f"{name}_{kind}"], "wb") as f:
                f.write(data)
    return files
