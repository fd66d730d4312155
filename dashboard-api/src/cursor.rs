//! Opaque cursors: where the next page of a list begins.
//!
//! A cursor is the last row's sort key, so that rows arriving meanwhile neither double nor hide one.

use crate::problem::{Answer, Problem};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::ToSchema;

/// Most items of one page.
pub(crate) const MOST: usize = 200;
const USUAL: usize = 50;

/// One page of a list.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    /// Asks for the next page; null on the last.
    pub(crate) next_cursor: Option<String>,
}

/// `?limit=`, at most [`MOST`].
pub(crate) fn limit(asked: Option<usize>) -> Answer<usize> {
    match asked {
        None => Ok(USUAL),
        Some(n @ 1..=MOST) => Ok(n),
        Some(_) => Err(Problem::bad(format!("limit: 1 to {MOST}"))),
    }
}

/// From a sort key.
pub(crate) fn write(key: &impl Serialize) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(key).unwrap_or_default())
}

/// Back to the sort key.
pub(crate) fn read<K: DeserializeOwned>(cursor: Option<&str>) -> Answer<Option<K>> {
    let Some(text) = cursor else { return Ok(None) };
    BASE64_URL_SAFE_NO_PAD
        .decode(text)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .map(Some)
        .ok_or_else(|| Problem::bad("cursor: not one that this list gave; begin again without it"))
}

/// A page from `limit + 1` rows, of which the last only says that there are more.
pub(crate) fn page<T, K: Serialize>(mut rows: Vec<T>, limit: usize, key: impl Fn(&T) -> K) -> Page<T> {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next_cursor = if more { rows.last().map(|row| write(&key(row))) } else { None };
    Page { items: rows, next_cursor }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_was() {
        let text = write(&(3_i64, "x"));
        assert_eq!(read::<(i64, String)>(Some(&text)).unwrap(), Some((3, "x".into())));
        assert!(read::<(i64, String)>(Some("nonsense")).is_err());
        assert!(limit(Some(201)).is_err() && limit(Some(0)).is_err());
    }

    #[test]
    fn the_extra_row_only_says_that_there_are_more() {
        let first = page(vec![1, 2, 3], 2, |n| *n);
        assert_eq!((first.items, read::<i32>(first.next_cursor.as_deref()).unwrap()), (vec![1, 2], Some(2)));
        assert_eq!(page(vec![1, 2], 2, |n| *n).next_cursor, None);
    }
}
