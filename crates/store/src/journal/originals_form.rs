//! The forms in which messages lie in a row of `original`: one behind the other, a head before each; and packed.
//!
//! Goes in: messages. Comes out: the bytes of a row, and the messages of one.
//! Must never: take for granted what a damaged file claims.

use super::originals::Head;
use crate::StoreError;
use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};
use std::{
    borrow::Cow,
    io::{Read, Write},
};

/// Bytes of messages in one packed block: more packs better, and makes the look-up of one message and an erasure slower.
pub(super) const BLOCK: usize = 64 << 10;
/// Bytes that one message may have unpacked: a block that claims more is damaged.
const LONGEST: usize = 256 << 20;

/// How the bytes of a row are written; column `packed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As they are.
    Plain,
    /// Deflate: the smaller one, made where nobody waits.
    Small,
    /// LZ4: so quick that a commit can wait for it. Since version 10 of the file.
    Quick,
}

impl Form {
    pub(super) const fn as_i64(self) -> i64 {
        match self {
            Self::Plain => 0,
            Self::Small => 1,
            Self::Quick => 2,
        }
    }

    pub(super) fn from_i64(packed: i64) -> Result<Self, StoreError> {
        [Self::Plain, Self::Small, Self::Quick]
            .into_iter()
            .find(|form| form.as_i64() == packed)
            .ok_or_else(|| damaged(&format_args!("nobody knows the form {packed}")))
    }

    pub(super) fn pack(self, body: &[u8]) -> Result<Cow<'_, [u8]>, StoreError> {
        match self {
            Self::Plain => Ok(Cow::Borrowed(body)),
            Self::Small => {
                let mut encoder = DeflateEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
                encoder.write_all(body).and_then(|()| encoder.finish()).map(Cow::Owned).map_err(|e| damaged(&e))
            }
            Self::Quick => Ok(Cow::Owned(lz4_flex::block::compress_prepend_size(body))),
        }
    }

    pub(super) fn unpack(self, body: &[u8]) -> Result<Cow<'_, [u8]>, StoreError> {
        match self {
            Self::Plain => Ok(Cow::Borrowed(body)),
            Self::Small => {
                let mut whole = Vec::with_capacity(BLOCK * 2);
                let claim = u64::try_from(LONGEST).unwrap_or(u64::MAX);
                DeflateDecoder::new(body).take(claim).read_to_end(&mut whole).map_err(|e| damaged(&e))?;
                Ok(Cow::Owned(whole))
            }
            Self::Quick => {
                let (length, rest) = lz4_flex::block::uncompressed_size(body).map_err(|e| damaged(&e))?;
                if length > LONGEST {
                    return Err(damaged(&"it claims to be longer than any message"));
                }
                let whole = lz4_flex::block::decompress(rest, length).map_err(|e| damaged(&e))?;
                if whole.len() == length { Ok(Cow::Owned(whole)) } else { Err(damaged(&"it ends too early")) }
            }
        }
    }
}

pub(super) fn append(body: &mut Vec<u8>, head: &Head<'_>, bytes: &[u8]) -> Result<(), StoreError> {
    // On the stack first: growing a vector byte by byte costs three times as much.
    let mut short = [0_u8; 256];
    match postcard::to_slice(head, &mut short) {
        Ok(written) => body.extend_from_slice(written),
        Err(_) => body.extend(postcard::to_stdvec(head).map_err(|e| damaged(&e))?),
    }
    body.extend_from_slice(bytes);
    Ok(())
}

fn damaged(e: &dyn std::fmt::Display) -> StoreError {
    StoreError::Database { what: "journal.db", reason: format!("an original cannot be read or written: {e}") }
}

/// The messages of a row, in order.
pub(super) fn each<'b>(
    mut rest: &'b [u8],
    mut take: impl FnMut(Head<'b>, &'b [u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    while !rest.is_empty() {
        let (head, after) = postcard::take_from_bytes::<Head<'b>>(rest).map_err(|e| damaged(&e))?;
        let length = usize::try_from(head.length).unwrap_or(usize::MAX);
        let (bytes, after) = after.split_at_checked(length).ok_or_else(|| damaged(&"it ends too early"))?;
        take(head, bytes)?;
        rest = after;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_gives_back_what_it_was_given() {
        let body: Vec<u8> = (0..200_000_u32).flat_map(|n| (n % 977).to_le_bytes()).collect();
        for form in [Form::Plain, Form::Small, Form::Quick] {
            assert_eq!(Form::from_i64(form.as_i64()).unwrap(), form);
            for part in [&body[..], &body[..1], &[]] {
                assert_eq!(&*form.unpack(&form.pack(part).unwrap()).unwrap(), part, "{form:?}");
            }
        }
        assert!(Form::from_i64(3).is_err());
    }

    #[test]
    fn a_damaged_block_is_an_error_and_takes_no_memory_that_it_claims() {
        let whole = Form::Quick.pack(&[7; 5_000]).unwrap().into_owned();
        for end in 0..whole.len() {
            assert!(Form::Quick.unpack(&whole[..end]).is_err(), "{end}");
        }
        let mut claims = whole;
        claims[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Form::Quick.unpack(&claims).is_err());
    }
}
