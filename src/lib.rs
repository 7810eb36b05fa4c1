//! Cutover: Ansible-style playbooks over its own SSH, every change shown before it is made.

pub mod change;
pub mod error;
pub mod host;
pub mod inventory;
pub mod lab;
pub mod modules;
pub mod playbook;
pub mod secret;
pub mod template;
pub mod transport;
pub mod vars;
pub mod yaml;
