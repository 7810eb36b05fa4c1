//! The questions of a play's `vars_prompt`, asked on the terminal before it begins.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use serde_json::Value;

use crate::error::{Diagnostic, Diagnostics};
use crate::playbook::{Play, Prompt};
use crate::secret;
use crate::vars::{Layer, Scope, Var};
use crate::yaml::Yaml;

use super::play::wrong;
use super::{Event, Run};

impl Run {
    /// Returns the answers to a play's questions. What `-e` gives is not asked for; without a terminal the defaults are
    /// the answers.
    pub(super) async fn answers(&self, play: &Play) -> Result<Layer, Diagnostics> {
        let mut answers = Layer::new();
        let extra = self.fleet.extra_scope();
        let scope = self.fleet.play_scope(&play.vars);
        for prompt in play.prompts.iter().filter(|prompt| extra.get(&prompt.name).is_none()) {
            let rendered = |node: &Yaml| {
                self.templates
                    .render(node, &scope)
                    .map(|value| crate::template::text(&value))
                    .map_err(|failure| wrong(failure, node))
            };
            let default = prompt.default.as_ref().map(rendered).transpose()?;
            let answer = match std::io::stdin().is_terminal() {
                true => {
                    let shown = default.as_ref().filter(|_| !prompt.private).map(|text| format!(" [{text}]"));
                    let question = format!("{}{}: ", rendered(&prompt.question)?, shown.unwrap_or_default());
                    let told = tell(question, (prompt.private, prompt.confirm)).await;
                    let told = told.map_err(|why| Diagnostic::new(format!("no answer for `{}`: {why}", prompt.name)));
                    told.map_err(|error| error.at(&prompt.place))?
                }
                false => {
                    self.send(Event::Warning(format!("there is no terminal to ask for `{}` on", prompt.name)));
                    String::new()
                }
            };
            let answer = if answer.is_empty() { default.unwrap_or_default() } else { answer };
            if prompt.private {
                secret::note(&answer);
            }
            let value = self.encrypted(prompt, (answer, &scope))?;
            let var = match prompt.literal || prompt.encrypt.is_some() {
                true => Var::Known(value.into()),
                false => Var::Written(Yaml::text_at(value, &prompt.place)),
            };
            answers.insert(prompt.name.clone(), var);
        }
        Ok(answers)
    }

    /// Returns the hash of an answer where that is what the variable is to be.
    fn encrypted(&self, prompt: &Prompt, (answer, scope): (String, &Scope)) -> Result<String, Diagnostics> {
        let Some(scheme) = &prompt.encrypt else { return Ok(answer) };
        let mut known = Layer::from([
            ("answer".to_string(), Var::Known(answer.into())),
            ("scheme".to_string(), Var::Known(scheme.key().trim_end_matches("_crypt").into())),
        ]);
        let mut expression = "{{ answer | password_hash(scheme) }}";
        if let Some(salt) = &prompt.salt {
            known.insert("salt".into(), Var::Known(salt.key().into()));
            expression = "{{ answer | password_hash(scheme, salt) }}";
        }
        let node = Yaml::text_at(expression, &scheme.place);
        let hash = self.templates.render(&node, &scope.with(known)).map_err(|failure| wrong(failure, scheme))?;
        match hash {
            Value::String(hash) => Ok(hash),
            other => Ok(other.to_string()),
        }
    }
}

/// Asks once, or until the same was typed twice.
async fn tell(question: String, (private, twice): (bool, bool)) -> std::io::Result<String> {
    let ask = tokio::task::spawn_blocking(move || {
        loop {
            let first = line(&question, private)?;
            if !twice || line(&format!("confirm {question}"), private)? == first {
                return Ok(first);
            }
            writeln!(anstream::stderr(), "***** VALUES ENTERED DO NOT MATCH ****")?;
        }
    });
    ask.await.map_err(std::io::Error::other)?
}

fn line(question: &str, private: bool) -> std::io::Result<String> {
    if private {
        return rpassword::prompt_password(question);
    }
    write!(anstream::stderr(), "{question}")?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\n', '\r']).into())
}
