//! The tests that need more than one part: real servers, real files, the whole program.

mod ssh;
mod sshd;
mod transport_laws;
