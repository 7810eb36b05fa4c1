//! The tests that need more than one part: real servers, real files, the whole program.

mod mail_move;
mod maildir_kill;
mod ssh;
mod sshd;
mod transport_laws;
