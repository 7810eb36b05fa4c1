//! Every integration test, in one binary.

mod ssh;
mod sshd;
mod transport_laws;
