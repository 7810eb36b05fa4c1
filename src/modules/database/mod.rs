//! Modules for databases: rows and queries, through the host's own client of MySQL or MariaDB.

use super::Entry;

mod literal;
mod login;
mod mysql_db;
mod mysql_query;
mod mysql_rows;
mod mysql_user;
mod panel;
mod planned;
mod plesk_accounts;
mod plesk_answers;
mod plesk_facts;
mod plesk_program;
pub mod rows;
pub mod schema;

pub use literal::Cell;
pub use login::{IMPLICIT, LOGIN, Login};
pub use mysql_query::may_write;

pub const MODULES: &[&Entry] = &[
    &mysql_db::ENTRY,
    &mysql_query::ENTRY,
    &mysql_rows::ENTRY,
    &mysql_user::ENTRY,
    &plesk_accounts::ENTRY,
    &plesk_facts::ENTRY,
];

/// What a query that only a run makes leaves unknown, as `Pending` knows it.
pub const DATABASES: &str = "databases of MySQL";
