//! `unarchive`: what an archive of the controller or of the host holds is in a directory, each path of it a change of its own.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::net::web::ask;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::secret;
use crate::transport::name::from_local;
use crate::transport::{Body, Content, Links, Node, Want};
use crate::web::{Request, without_login};

use super::place::{Place, absolute, results_of};
use super::rights::{RIGHTS, Rights};
use super::source::{Item, What, is_small, local, unsealed};

mod listing;
mod members;
mod options;
mod tool;

use members::Members;
use options::Options;
pub(super) use tool::SUM;
use tool::{Archive, Format};

pub const UNARCHIVE: Entry = Entry {
    name: "unarchive",
    summary: "Unpacks an archive into a directory of the host; each path that differs is shown",
    arguments: &[ARGUMENTS, RIGHTS],
    free_form: None,
    example: "\
- name: The tools that the move needs
  unarchive:
    src: tools.tar.gz
    dest: /var/qmail
    owner: root
    group: root
",
    build,
};

const ARGUMENTS: &[Argument] = &[
    Argument::new(
        "src",
        Kind::Path,
        "The archive: a tar, packed or not, or a zip; with `remote_src` also an URL. It is read by the tar or unzip of the machine \
         that it is on.",
    )
    .required(),
    Argument::new("dest", Kind::Path, "The directory to unpack into, which has to be there.").required(),
    Argument::new("remote_src", Kind::Bool, "`src` is on the host."),
    Argument::new("copy", Kind::Bool, "The old form of `remote_src`: `false` means that `src` is on the host."),
    Argument::new("creates", Kind::Path, "Where this path is there already, nothing is unpacked."),
    Argument::new("list_files", Kind::Bool, "Names the members in the result, as `files`."),
    Argument::new("include", Kind::List, "Only these members; patterns in a zip."),
    Argument::new("exclude", Kind::List, "Not these members; patterns."),
    Argument::new("keep_newer", Kind::Bool, "Files that are newer than the archive's stay."),
    Argument::new(
        "extra_opts",
        Kind::List,
        "Options for tar or unzip, each an item. Those that would write elsewhere than is shown are refused.",
    ),
    Argument::new("decrypt", Kind::Bool, "`false` takes an archive that ansible-vault has encrypted as it is."),
    Argument::new("io_buffer_size", Kind::Int, "Taken and not needed."),
    Argument::new("validate_certs", Kind::Bool, "`false` trusts any certificate of the server that an archive comes from."),
];

#[derive(Deserialize)]
struct Unarchive {
    src: String,
    dest: String,
    remote_src: Option<bool>,
    copy: Option<bool>,
    creates: Option<String>,
    #[serde(default)]
    list_files: bool,
    #[serde(default)]
    include: Vec<String>,
    #[serde(default)]
    exclude: Vec<String>,
    #[serde(default)]
    keep_newer: bool,
    #[serde(default)]
    extra_opts: Vec<String>,
    decrypt: Option<bool>,
    validate_certs: Option<bool>,
    #[serde(flatten)]
    rights: Rights,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let unarchive: Unarchive = arguments.read()?;
    unarchive.rights.check()?;
    if !unarchive.include.is_empty() && !unarchive.exclude.is_empty() {
        return Err(Diagnostic::new("parameters are mutually exclusive: include|exclude"));
    }
    if unarchive.copy.is_some() && unarchive.remote_src.is_some() {
        return Err(Diagnostic::new("parameters are mutually exclusive: copy|remote_src"));
    }
    Ok(Box::new(unarchive))
}

#[async_trait]
impl Module for Unarchive {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        if let Some(path) = &self.creates {
            let asked = [(absolute(host, path), Links::Follow)];
            if host.look_all(&asked, Want::Attributes).await?.iter().any(Node::exists) {
                let message = format!("skipped, since {path} exists");
                let results = [("msg".to_string(), json!(message)), ("skipped".to_string(), json!(true))];
                return Ok(Planned::new(Vec::new(), Results::from_iter(results)));
            }
        }
        let dest = Place::look(host, &self.dest, Links::Follow, Want::Attributes).await?;
        if !dest.node.is_directory() {
            return Err(ModuleError::failed(format!("dest '{}' must be an existing dir", self.dest)));
        }
        let Some(mut archive) = self.archive(host).await? else {
            return Ok(Planned::new(Vec::new(), Results::new()));
        };
        let named_zip = archive.path.ends_with(".zip");
        archive.options = Options::read(&self.extra_opts, named_zip)?.passed;
        let (format, listed) = archive.list(false).await?;
        let mut options = Options::read(&self.extra_opts, format == Format::Zip)?;
        options.keep_newer |= self.keep_newer;
        let members = Members { host, archive: &archive, format, options: &options, rights: &self.rights };
        let (changes, differs) = members.plan(&dest, &listed).await?;
        let mut results = results_of(&dest.node);
        results.insert("dest".into(), self.dest.as_str().into());
        results.insert("src".into(), without_login(&self.src).0.into());
        let handler = if let Format::Tar { handler, .. } = format { handler } else { "ZipArchive" };
        results.insert("handler".into(), handler.into());
        if differs {
            // As Ansible tells it: the archive is not what is there.
            results.insert("changed".into(), true.into());
        }
        if self.list_files {
            results.insert("files".into(), listed.iter().map(|member| member.name.as_str()).collect());
        }
        let mut planned = Planned::new(changes, results);
        if !self.dest.starts_with(['/', '~', '$']) {
            let warning = format!("`dest` is no absolute path: `{}` is taken for `{}`", self.dest, dest.path);
            planned.warnings.push(warning);
        }
        Ok(planned)
    }
}

impl Unarchive {
    /// Finds the archive. `None`: this plan only asks, and nothing is run on the controller for it.
    async fn archive<'a>(&'a self, host: &'a View) -> Result<Option<Archive>, ModuleError> {
        let on = |machine: View, path: String, here: bool| Archive {
            machine,
            path,
            here,
            own: None,
            options: Vec::new(),
            include: self.include.clone(),
            exclude: self.exclude.clone(),
        };
        let remote = self.remote_src.unwrap_or(self.copy == Some(false));
        if self.src.contains("://") {
            return match (remote, host.only_asks) {
                (true, true) => Ok(None),
                (true, false) => Ok(Some(self.own(host, &self.fetched(host).await?, on)?)),
                (false, _) => Err(ModuleError::failed(format!(
                    "Unsupported option, an URI src ({}) is only supported when remote_src is True",
                    without_login(&self.src).0
                ))),
            };
        }
        if remote {
            // In a check it may be one that an earlier task would bring: then its bytes, or its file, are on the controller.
            let want = if host.plans_ahead() { Want::Content } else { Want::Attributes };
            let place = Place::look(host, &self.src, Links::Follow, want).await?;
            let Node::File { content, .. } = &place.node else {
                let message = match &place.node {
                    Node::Absent => format!("Source '{}' does not exist", self.src),
                    other => format!("`{}` is no archive but a {}", self.src, other.kind()),
                };
                return Err(ModuleError::failed(message));
            };
            return match &content.body {
                Body::Here(bytes) if host.plans_ahead() && !host.only_asks => Ok(Some(self.own(host, bytes, on)?)),
                Body::File(path) => Ok(Some(on(host.here(), from_local(path), true))),
                Body::Printed { .. } | Body::Own { .. } | Body::Peer { .. } => {
                    Err(ModuleError::Unknown(format!("`{}`, which is only planned", self.src).into()))
                }
                _ => Ok(Some(on(host.clone(), place.path, false))),
            };
        }
        let path = host.controller().find("files", &self.src)?;
        if host.only_asks || path.is_dir() {
            return match path.is_dir() {
                true => Err(ModuleError::failed(format!("`{}` is no archive but a directory", path.display()))),
                false => Ok(None),
            };
        }
        let mut items = local(&path, Links::Follow)?;
        if is_small(&path)
            && self.decrypt.unwrap_or(true)
            && unsealed(&mut items, &self.src)?
            && let [Item { what: What::File { content: Content { body: Body::Here(bytes), .. }, .. }, .. }] = &items[..]
        {
            return Ok(Some(self.own(host, bytes, on)?));
        }
        Ok(Some(on(host.here(), from_local(path), true)))
    }

    /// Returns an archive of the web, asked for from the host.
    async fn fetched(&self, host: &View) -> Result<Vec<u8>, ModuleError> {
        let mut request = Request::to(&self.src);
        request.secrets().iter().for_each(|text| secret::note(text));
        request.validate_certs = self.validate_certs.unwrap_or(true);
        let why = match ask(host, &request, u64::from(u32::MAX)).await? {
            Ok(answer) if answer.is_success() => return Ok(answer.body.unwrap_or_default()),
            Ok(answer) => format!("HTTP Error {}: {}", answer.status, answer.reason()),
            Err(failure) => failure.text().to_string(),
        };
        Err(ModuleError::failed(format!("Failure downloading {}, {why}", request.url)))
    }

    /// Puts an archive that is only in memory into a file of this process.
    fn own(
        &self,
        host: &View,
        bytes: &[u8],
        on: impl Fn(View, String, bool) -> Archive,
    ) -> Result<Archive, ModuleError> {
        let kept = tempfile::NamedTempFile::new().and_then(|file| std::fs::write(file.path(), bytes).map(|()| file));
        let file = kept.map_err(|error| ModuleError::failed(format!("no temp file on the controller: {error}")))?;
        let mut archive = on(host.here(), from_local(file.path()), true);
        archive.own = Some(file);
        Ok(archive)
    }
}
