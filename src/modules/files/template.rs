//! `template`: a file of the host is a template of the controller, filled in.

use async_trait::async_trait;
use serde::Deserialize;

use crate::error::Diagnostic;
use crate::host::{TemplateOptions, View};
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Outcome, Planned};
use crate::secret;
use crate::transport::{Content, Links};

use super::encoding::Encoding;
use super::install::{INSTALLING, Install};
use super::place::{WRITING, Writing, base_name};
use super::rights::RIGHTS;
use super::source::{What, local, unsealed};

pub const TEMPLATE: Entry = Entry {
    name: "template",
    summary: "Fills in a Jinja2 template and puts it on the host",
    arguments: &[
        &[
            Argument::new("src", Kind::Path, "The template on the controller, in UTF-8.").required(),
            Argument::new("dest", Kind::Path, "The file, or the directory that it is put into.").required(),
            Argument::new("newline_sequence", Kind::Text, "How lines end in the file.")
                .choices(&["\\n", "\\r", "\\r\\n", "\n", "\r", "\r\n"]),
            Argument::new(
                "output_encoding",
                Kind::Text,
                "Encoding of the file: `utf-8` unless given, or one with a byte for each letter, such as `latin-1` or `cp1252`.",
            ),
            Argument::new("trim_blocks", Kind::Bool, "Remove the line end after a block; on unless set."),
            Argument::new("lstrip_blocks", Kind::Bool, "Remove the white space before a block at the start of a line."),
            Argument::new("block_start_string", Kind::Text, "What starts a block; `{%` unless given."),
            Argument::new("block_end_string", Kind::Text, "What ends a block; `%}` unless given."),
            Argument::new("variable_start_string", Kind::Text, "What starts an expression; `{{` unless given."),
            Argument::new("variable_end_string", Kind::Text, "What ends an expression; `}}` unless given."),
            Argument::new("comment_start_string", Kind::Text, "What starts a comment; `{#` unless given."),
            Argument::new("comment_end_string", Kind::Text, "What ends a comment; `#}` unless given."),
        ],
        INSTALLING,
        WRITING,
        RIGHTS,
    ],
    free_form: None,
    example: "- name: Domains that are delivered on this host\n  template:\n    src: virtualdomains.j2\n    dest: /var/qmail/control/virtualdomains\n    owner: root\n    group: root\n    mode: \"0644\"\n    backup: true\n",
    build,
};

#[derive(Deserialize)]
struct Template {
    src: String,
    dest: String,
    newline_sequence: Option<String>,
    output_encoding: Option<String>,
    trim_blocks: Option<bool>,
    lstrip_blocks: Option<bool>,
    block_start_string: Option<String>,
    block_end_string: Option<String>,
    variable_start_string: Option<String>,
    variable_end_string: Option<String>,
    comment_start_string: Option<String>,
    comment_end_string: Option<String>,
    force: Option<bool>,
    #[serde(default)]
    follow: bool,
    #[serde(flatten)]
    writing: Writing,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let template: Template = arguments.read()?;
    let mut writing = template.writing.clone();
    writing.rights.mode = writing.rights.mode.filter(|mode| mode != "preserve");
    writing.check()?;
    template.encoding()?;
    Ok(Box::new(template))
}

#[async_trait]
impl Module for Template {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let controller = host.controller();
        let path = controller.find("templates", &self.src)?;
        let mut items = local(&path, Links::Follow)?;
        if unsealed(&mut items, &self.src)? {
            secret::note_file(&path);
        }
        let (content, mode) = match items.into_iter().next().map(|item| item.what) {
            Some(What::File { content, mode }) => (content, mode),
            _ => return Err(Diagnostic::new(format!("the template `{}` is no file", path.display())).into()),
        };
        let bytes = super::place::bytes_of(host, "", &content).await?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Diagnostic::new(format!("the template `{}` is not UTF-8 text", path.display())))?;
        let text = (controller.render)(&path, &text, &self.options())?;
        let mut writing = self.writing.clone();
        if writing.rights.mode.as_deref() == Some("preserve") {
            writing.rights.mode = Some(format!("{mode:04o}"));
        }
        let install = Install {
            dest: &self.dest,
            name: Some(base_name(&self.src)),
            links: if self.follow { Links::Follow } else { Links::Keep },
            force: self.force.unwrap_or(true),
            directories: writing.rights.with_mode(None),
            writing: &writing,
        };
        let bytes = self.encoding()?.bytes(&self.ended(&text)).map_err(|letter| {
            let name = self.output_encoding.as_deref().unwrap_or_default();
            Diagnostic::new(format!("`{letter}` of the template `{}` is no letter of `{name}`", path.display()))
        })?;
        let mut planned = install.plan(host, Content::here(bytes)).await?;
        if let Outcome::Known(results) = &mut planned.result {
            results.insert("src".into(), path.display().to_string().into());
        }
        Ok(planned)
    }
}

impl Template {
    fn encoding(&self) -> Result<Encoding, Diagnostic> {
        let name = self.output_encoding.as_deref().unwrap_or("utf-8");
        Encoding::named(name).ok_or_else(|| {
            Diagnostic::new(format!("`output_encoding: {name}` is no encoding that is known here"))
                .hint("`utf-8`, or one with a byte for each letter: `latin-1`, `iso-8859-15`, `cp1252`, `koi8-r`")
        })
    }

    fn options(&self) -> TemplateOptions {
        let defaults = TemplateOptions::default();
        let or = |text: &Option<String>, default: String| text.clone().unwrap_or(default);
        TemplateOptions {
            trim_blocks: self.trim_blocks.unwrap_or(defaults.trim_blocks),
            lstrip_blocks: self.lstrip_blocks.unwrap_or(defaults.lstrip_blocks),
            block_start: or(&self.block_start_string, defaults.block_start),
            block_end: or(&self.block_end_string, defaults.block_end),
            variable_start: or(&self.variable_start_string, defaults.variable_start),
            variable_end: or(&self.variable_end_string, defaults.variable_end),
            comment_start: or(&self.comment_start_string, defaults.comment_start),
            comment_end: or(&self.comment_end_string, defaults.comment_end),
        }
    }

    /// Returns the text with its lines ended as asked.
    fn ended(&self, text: &str) -> String {
        let newline = match self.newline_sequence.as_deref() {
            Some("\\r" | "\r") => "\r",
            Some("\\r\\n" | "\r\n") => "\r\n",
            _ => return text.into(),
        };
        text.replace("\r\n", "\n").replace('\n', newline)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::modules::files::bench::Bench;

    #[tokio::test]
    async fn a_template_is_filled_in_and_ended_as_asked() {
        let bench = Bench::new();
        bench.source("templates/me.j2", "[[ me ]]\n");
        let arguments = json!({
            "src": "me.j2", "dest": "/etc/me", "mode": "0600", "newline_sequence": "\\r\\n",
            "variable_start_string": "[[", "variable_end_string": "]]",
        });
        let results = bench.twice("template", arguments).await;
        assert_eq!(
            (bench.host.read("/etc/me").unwrap().as_str(), bench.mode("/etc/me")),
            ("mail.example.com\r\n", 0o600)
        );
        assert_eq!(results["dest"], "/etc/me");
    }

    #[tokio::test]
    async fn a_file_is_written_in_the_encoding_that_is_asked_for() {
        let bench = Bench::new();
        bench.source("templates/me.j2", "gr\u{fc}n 5 \u{20ac}\n").source("templates/plain.j2", "gr\u{fc}n\n");
        let task = |src, encoding| json!({"src": src, "dest": "/etc/me", "output_encoding": encoding});
        for (encoding, bytes) in [("iso-8859-15", b"gr\xfcn 5 \xa4\n"), ("cp1252", b"gr\xfcn 5 \x80\n")] {
            bench.twice("template", task("me.j2", encoding)).await;
            let node = bench.host.node("/etc/me", crate::transport::Links::Keep);
            assert_eq!(node.content().and_then(crate::transport::Content::bytes), Some(&bytes[..]), "{encoding}");
        }
        let failed = bench.fails("template", task("me.j2", "latin-1")).await;
        assert!(failed.contains("`\u{20ac}`") && failed.contains("no letter of `latin-1`"), "{failed}");
        bench.twice("template", task("plain.j2", "latin-1")).await;
        assert!(bench.fails("template", task("plain.j2", "utf-16")).await.contains("a byte for each letter"));
    }

    #[tokio::test]
    async fn a_refused_file_does_not_take_its_place() {
        let bench = Bench::new();
        bench.source("templates/sudoers.j2", "bad\n");
        bench.host.file("/etc/sudoers", "good\n", 0o440).on("visudo -cf %s", 1, "");
        let arguments = json!({"src": "sudoers.j2", "dest": "/etc/sudoers", "validate": "visudo -cf %s"});
        let planned = bench.plan("template", arguments).await.unwrap();
        assert!(bench.tries(&planned.changes).await.is_err());
        assert_eq!(bench.host.read("/etc/sudoers").unwrap(), "good\n");
    }

    #[tokio::test]
    async fn in_a_directory_it_keeps_its_name() {
        let bench = Bench::new();
        bench.source("templates/sub/me.j2", "{{ me }}");
        bench.twice("template", json!({"src": "sub/me.j2", "dest": "/etc"})).await;
        assert_eq!(bench.host.read("/etc/me.j2").unwrap(), "mail.example.com");
    }
}
