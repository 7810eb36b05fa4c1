//! As whom a task acts on its host: what variables, keywords, flags and the environment say of becoming another user.

use crate::error::Diagnostic;
use crate::playbook::Keywords;
use crate::secret::Secret;
use crate::transport::Become;

use super::login::{Logins, Unsettled};
use super::said::{Reader, Said, Sources};

impl Logins {
    pub(super) fn become_user(&self, keywords: &Keywords, read: &Reader<'_>) -> Result<Option<Become>, Unsettled> {
        let on = read.first(&Sources {
            variables: &["ansible_become"],
            keyword: ("become", keywords.become_on.as_ref()),
            flag: ("--become", self.defaults.become_on.then_some("true")),
            environment: &["ANSIBLE_BECOME"],
        })?;
        if !on.as_ref().map_or(Ok(false), Said::boolean)? {
            return Ok(None);
        }
        let method = read.first(&Sources {
            variables: &["ansible_become_method"],
            keyword: ("become_method", keywords.become_method.as_ref()),
            flag: ("--become-method", self.defaults.become_method.as_deref()),
            environment: &["ANSIBLE_BECOME_METHOD"],
        })?;
        let method = method.as_ref().map_or(Ok("sudo".into()), become_method)?;
        let own = |what: &str| format!("ansible_{method}_{what}");
        let (own_user, own_flags, own_exe, own_pass) = (own("user"), own("flags"), own("exe"), own("pass"));
        let text = |said: Option<Said>| said.map(|said| said.text);
        let user = read.first(&Sources {
            variables: &["ansible_become_user", &own_user],
            keyword: ("become_user", keywords.become_user.as_ref()),
            flag: ("--become-user", self.defaults.become_user.as_deref()),
            environment: &["ANSIBLE_BECOME_USER"],
        })?;
        let flags = read.first(&Sources {
            variables: &["ansible_become_flags", &own_flags],
            keyword: ("become_flags", keywords.become_flags.as_ref()),
            environment: &["ANSIBLE_BECOME_FLAGS"],
            ..Sources::default()
        })?;
        let exe = read.first(&Sources {
            variables: &["ansible_become_exe", &own_exe],
            keyword: ("become_exe", keywords.become_exe.as_ref()),
            environment: &["ANSIBLE_BECOME_EXE"],
            ..Sources::default()
        })?;
        let prompts = read.first(&Sources {
            variables: &["ansible_su_prompt_l10n"],
            environment: &["ANSIBLE_SU_PROMPT_L10N"],
            ..Sources::default()
        })?;
        let prompts = prompts.filter(|_| method == "su");
        let password = ["ansible_become_password", "ansible_become_pass", &own_pass];
        let password = read.first(&Sources { variables: &password, ..Sources::default() })?;
        Ok(Some(Become {
            user: text(user).unwrap_or_else(|| "root".into()),
            password: text(password).map(Secret::new).or_else(|| self.defaults.become_password.clone()),
            flags: text(flags),
            exe: text(exe),
            prompts: text(prompts).map(|text| listed(&text)).unwrap_or_default(),
            method,
        }))
    }
}

/// Returns the method's short name, which its own variables carry.
fn become_method(said: &Said) -> Result<String, Diagnostic> {
    let collections = ["ansible.builtin.", "ansible.legacy.", "community.general."];
    let short = collections.iter().find_map(|collection| said.text.strip_prefix(collection)).unwrap_or(&said.text);
    match short {
        "sudo" | "su" | "doas" => Ok(short.into()),
        _ => Err(said.should_be("`sudo`, `su` or `doas`")),
    }
}

/// Returns the texts of a list, or of text with commas.
fn listed(text: &str) -> Vec<String> {
    let split = || text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Into::into).collect();
    serde_json::from_str(text).unwrap_or_else(|_| split())
}
