//! What an administrator does without the service: a new folder, devices, users, imports, the audit's chain.
//!
//! Every change goes through the same functions as over HTTP; while the service runs these commands name its process
//! and the call to use instead.

use crate::{
    Done, Failure,
    arguments::{AuditCommand, CaCommand, DeviceCommand, ImportOptions, InitOptions, StoreCommand, UserCommand},
    authority,
    config::Series,
    folder::{self, Owned},
};
use dashboard_api::admin::{self, AdminError, NewDevice, NewUser};
use runtime::{Clock, Drain};
use serde_json::json;
use std::{future::Future, path::Path};
use store::{AuditRow, Role, Store, StoreError};
use vitals::{DeviceId, Zone};

/// Runs one piece of work on an open store; every write is durable when it returns.
fn with_store<T, F>(folder: &Path, work: impl FnOnce(Store) -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::failed("tokio runtime", e))?;
    runtime.block_on(async {
        let (_handle, drain) = Drain::new();
        work(Store::open(folder, Clock::system(), &drain)?).await
    })
}

/// What the audit says of a change without a session: done by whoever may open the folder.
async fn note(store: &Store, action: &str, command: &str, references: Vec<String>) -> Result<(), StoreError> {
    let row = |reference: String| AuditRow {
        at: store.clock().now(),
        user: None,
        username: Some("offline".into()),
        role: None,
        action: action.to_owned(),
        path: format!("hearthbeat {command}"),
        reference: Some(reference),
        source: None,
        result: "ok",
    };
    store.append_audit(references.into_iter().map(row).collect()).await
}

/// A member that is wrong is a wrong argument.
fn refused(what: &str, e: AdminError) -> Failure {
    match e {
        AdminError::Invalid { .. } => Failure::Configuration(format!("{what}: {e}")),
        e => Failure::failed(what, e),
    }
}

/// `init`: folder, first administrator, device CA.
pub(crate) fn init(options: &InitOptions) -> Done {
    let folder = &options.data.data_dir;
    folder::claim_new(folder)?;
    let (username, password) = with_store(folder, |store| async move {
        admin::bootstrap(&store).await.map_err(|e| Failure::failed("first administrator", e))
    })?;
    authority::make(folder, Clock::wall())?;
    folder::keep_names(folder)?;
    if options.json {
        println!("{}", json!({ "username": username, "password": password }));
    } else {
        println!("{} is ready.\n\n  user name  {username}\n  password   {password}\n", folder.display());
        println!("The password is shown this once and must be changed at the first login.");
    }
    Ok(())
}

/// `device …`
pub(crate) fn device(command: &DeviceCommand) -> Done {
    match command {
        DeviceCommand::Provision { ids, data, kind, json } => provision(&data.data_dir, ids, kind.as_deref(), *json),
        DeviceCommand::Certificate { id, csr, data, days, json } => certify(&data.data_dir, id, csr, *days, *json),
        DeviceCommand::Ca(command) => device_ca(command),
    }
}

/// `device provision ID…`
fn provision(folder: &Path, ids: &[String], kind: Option<&str>, json: bool) -> Done {
    // All of them before any: a secret is shown once, and not at all when a later id ends the command.
    if let Some(id) = ids.iter().find(|id| id.parse::<DeviceId>().is_err()) {
        return Err(Failure::Configuration(format!("{id}: 1 to 64 of A-Z a-z 0-9 . _ -")));
    }
    let _owned = Owned::take(folder, "use POST /api/v1/devices while it runs")?;
    with_store(folder, |store| async move {
        let mut made = Vec::new();
        for id in ids {
            let new = NewDevice { id: Some(id.clone()), kind: kind.map(str::to_owned), ..NewDevice::default() };
            let provisioned = admin::provision_device(&store, new).await.map_err(|e| refused(id, e))?;
            note(&store, "device.create", "device provision", vec![id.clone()]).await?;
            let (secret, code) = (&provisioned.secret, &provisioned.claim_code);
            let printed = admin::printed_code(&provisioned.device.id, code);
            if !json {
                println!("{id}  secret {secret}  claim code {code}  QR {printed}");
            }
            made.push(json!({ "id": id, "secret": secret, "claimCode": code, "qrText": printed }));
        }
        if json {
            println!("{}", json!(made));
        }
        Ok(())
    })
}

/// `device certificate ID --csr FILE`
fn certify(folder: &Path, id: &str, csr: &Path, days: u32, json: bool) -> Done {
    let request = std::fs::read_to_string(csr).map_err(|e| Failure::failed(csr.display(), e))?;
    let _owned = Owned::take(folder, "use POST /api/v1/devices/{id}/certificate while it runs")?;
    let device = with_store(folder, |store| async move {
        store.directory().device(id).ok_or_else(|| Failure::failed(id, "there is no such device"))
    })?;
    if device.revoked {
        return Err(Failure::failed(id, "its credential was withdrawn; provision it under another id"));
    }
    let issued = authority::sign(folder, &device.id, &request, days, Clock::wall())
        .map_err(|e| Failure::failed(csr.display(), e))?;
    with_store(folder, |store| async move {
        Ok(note(&store, "device.certificate", "device certificate", vec![id.to_owned()]).await?)
    })?;
    if json {
        let until = issued.not_after.to_rfc3339(&Zone::utc());
        let (certificate, chain, serial) = (&issued.certificate, &issued.chain, &issued.serial);
        println!(
            "{}",
            json!({"id": id, "certificate": certificate, "chain": chain, "serial": serial, "notAfter": until})
        );
        return Ok(());
    }
    crate::check::print_all(format!("{}{}", issued.certificate, issued.chain).as_bytes())
}

/// `device ca …`, beside a running service or not; a running one reads the authorities again at once.
fn device_ca(command: &CaCommand) -> Done {
    let (CaCommand::Show { data } | CaCommand::Rotate { data } | CaCommand::Retire { data }) = command;
    let folder = &data.data_dir;
    folder::require_initialised(folder)?;
    match command {
        CaCommand::Show { .. } => {}
        CaCommand::Rotate { .. } => {
            authority::make(folder, Clock::wall())?;
            println!(
                "A new authority signs from now on; those before it are trusted until `hearthbeat device ca retire`."
            );
        }
        CaCommand::Retire { .. } => {
            let retired = authority::retire(folder)?;
            println!("{retired} retired: their certificates let nobody in any more.");
        }
    }
    if !matches!(command, CaCommand::Show { .. })
        && let Some(process) = folder::tell_holder(folder)
    {
        println!("The service, process {process}, was told to read them again.");
    }
    for known in authority::list(folder)? {
        let (until, state) = (known.not_after.day(&Zone::utc()), if known.signs { "signs" } else { "trusted" });
        println!("{state:<8} until {until}  {}  {}", known.name, known.serial);
    }
    Ok(())
}

/// `user add NAME --roles …`
pub(crate) fn user(command: &UserCommand) -> Done {
    let UserCommand::Add { username, name, roles, organisation, data, json } = command;
    let roles: Vec<Role> = roles
        .iter()
        .map(|r| serde_json::from_value(json!(r)))
        .collect::<Result<_, _>>()
        .map_err(|e| Failure::Configuration(format!("--roles: {e}")))?;
    let organisation = organisation.as_deref().map(str::parse).transpose();
    let organisation =
        organisation.map_err(|_| Failure::Configuration("--organisation: not an organisation id (o_…)".into()))?;
    let _owned = Owned::take(&data.data_dir, "use POST /api/v1/users while it runs")?;
    let new = NewUser {
        username: username.clone(),
        name: name.clone().unwrap_or_else(|| username.clone()),
        roles,
        organisation,
        ..NewUser::default()
    };
    let made = with_store(&data.data_dir, |store| async move {
        let made = admin::create_user(&store, new).await.map_err(|e| refused(username, e))?;
        note(&store, "user.create", "user add", vec![made.user.id.to_string()]).await?;
        Ok(made)
    })?;
    let password = made.password.unwrap_or_default();
    if *json {
        println!("{}", json!({ "id": made.user.id, "username": username, "password": password }));
    } else {
        println!("{username}  {}  password {password}", made.user.id);
    }
    Ok(())
}

/// `import FILE`
pub(crate) fn import(options: &ImportOptions) -> Done {
    let text =
        std::fs::read(&options.file).map_err(|e| Failure::Configuration(format!("{}: {e}", options.file.display())))?;
    let _owned = Owned::take(&options.data.data_dir, "use POST /api/v1/import while it runs")?;
    let report = with_store(&options.data.data_dir, |store| async move {
        let report = dashboard_api::import_csv(&store, &text, options.dry_run)
            .await
            .map_err(|e| Failure::failed(options.file.display(), e))?;
        if !options.dry_run {
            note(&store, "import", "import", vec![options.file.display().to_string()]).await?;
        }
        Ok(report)
    })?;
    if options.json {
        println!("{}", json!(report));
    } else {
        let made = report.created;
        println!("created: {} patients, {} devices, {} bindings", made.patients, made.devices, made.bindings);
        for s in &report.secrets {
            println!("{}  secret {}  claim code {}", s.device_id, s.secret, s.claim_code);
        }
    }
    for rejected in &report.rejected {
        eprintln!("{}:{}: {} {}", options.file.display(), rejected.line, rejected.column, rejected.reason);
    }
    if report.rejected.is_empty() { Ok(()) } else { Err(Failure::Quiet) }
}

/// `audit verify`, `audit books`
pub(crate) fn audit(command: &AuditCommand) -> Done {
    let data = match command {
        AuditCommand::Verify { data } => data,
        AuditCommand::Books(options) => return crate::keeping::books(options),
    };
    folder::require_initialised(&data.data_dir)?;
    match store::verify_audit(&data.data_dir)? {
        store::AuditVerdict::Whole { rows } => {
            println!("{rows} rows, the chain is whole");
            Ok(())
        }
        store::AuditVerdict::Broken { seq } => {
            Err(Failure::Failed(format!("audit row {seq}: it was changed, or one before it is missing")))
        }
    }
}

/// `store rebuild`
pub(crate) fn store_command(command: &StoreCommand) -> Done {
    let StoreCommand::Rebuild(options) = command;
    let (config, _) = crate::config::load(options.config.as_deref())?;
    if config.store.engine != Series::Questdb {
        return Err(Failure::Configuration(
            "store.engine: nothing to rebuild; only \"questdb\" has a projection".into(),
        ));
    }
    let folder = &options.data.data_dir;
    let _owned = Owned::take(folder, "stop it first; a running service mends its projection by itself")?;
    let (_handle, drain) = Drain::new();
    let store = Store::open(folder, Clock::system(), &drain)?;
    let rows = store::questdb::rebuild(config.store.questdb, folder, store::questdb::Source::of(&store), &drain)
        .map_err(|e| Failure::failed("store rebuild", e))?;
    println!("{rows} readings are in QuestDB, counted");
    Ok(())
}

/// `openapi`
pub(crate) fn openapi() -> Done {
    crate::check::print_all(format!("{}\n", dashboard_api::openapi_json()).as_bytes())
}
