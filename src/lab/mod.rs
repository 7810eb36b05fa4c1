//! Two hosts of its own to try things on: an old and a new mail server on loopback, without root.

pub mod fill;
pub mod server;
