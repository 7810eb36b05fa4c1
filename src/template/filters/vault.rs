//! `vault` and `unvault`: encryption with a password that the template gives, as `ansible-vault` does it.

use minijinja::{Error, Value};

use super::super::call::{Call, Row, text, wrong};
use crate::secret::{self, Secret};
use crate::vault;

pub(super) const FILTERS: &[Row] = &[("unvault", unvault), ("vault", seal)];

/// Under this id Ansible's filter encrypts unless it is told another.
const ID: &str = "filter_default";

fn seal(call: &mut Call) -> Result<Value, Error> {
    let plain = call.text()?;
    let password = password(call, "vault")?;
    let salt = call.next_text("salt")?.filter(|salt| !salt.is_empty()).map(String::into_bytes);
    let id = call.next_text("vault_id")?.or(call.next_text("vaultid")?).unwrap_or_else(|| ID.into());
    call.next_flag("wrap_object")?;
    let salt =
        salt.map_or_else(vault::new_salt, Ok).map_err(|error| wrong(format!("no salt could be made: {error}")))?;
    secret::note(&plain);
    Ok(vault::encrypt(plain.as_bytes(), &password, &id, &salt).into())
}

fn unvault(call: &mut Call) -> Result<Value, Error> {
    let given = call.value()?;
    let sealed = text(&given);
    let password = password(call, "unvault")?;
    call.next_text("vault_id")?.or(call.next_text("vaultid")?);
    if given.is_safe() {
        // It was a `!vault` value, and has been decrypted when it was read.
        return Ok(given);
    }
    let plain = vault::decrypt(&sealed, &password).map_err(|error| wrong(error.to_string()))?;
    let plain = std::str::from_utf8(&plain).map_err(|_| wrong("what was encrypted is not UTF-8 text"))?;
    secret::note(plain);
    Ok(Value::from_safe_string(plain.into()))
}

fn password(call: &mut Call, filter: &str) -> Result<Secret, Error> {
    let given = call.need("secret")?;
    match given.as_str() {
        Some("") => Err(wrong(format!("the password of `{filter}` is empty"))),
        Some(password) => Ok(Secret::new(password)),
        None => {
            Err(wrong(format!("the password of `{filter}` is text, not {}", super::super::values::python_type(&given))))
        }
    }
}
