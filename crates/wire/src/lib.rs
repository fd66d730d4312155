//! Formats that cross a boundary: topics, reading messages, receipts, commands, webhooks' and clients' shapes.
//!
//! Goes in: bytes from outside. Comes out: `vitals` values or an error that names the field, and the way back.
//! Must never: decide anything clinical, touch a store, log a payload.

pub mod fhir;
pub mod gatt;
pub mod hello;
mod json;
pub mod reading_v1;
pub mod receipt;
pub mod topic;
pub mod vendor;
