//! This machine as a host with its own `sh`, for the tests of what memory cannot show.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use crate::change::{Applied, ApplyError, Reach, apply};
use crate::host::{Controller, Pendings, View};
use crate::modules::{ModuleError, Planned, find};
use crate::transport::local::local;
use crate::transport::{Machines, Output, Transport, TransportError};

pub struct Here {
    pub transport: Arc<dyn Transport>,
    /// A directory of this test's own.
    pub directory: tempfile::TempDir,
}

/// Every other host is this machine too.
struct Alone(Arc<dyn Transport>);

#[async_trait]
impl Machines for Alone {
    async fn machine(&self, _: &str) -> Result<Arc<dyn Transport>, TransportError> {
        Ok(self.0.clone())
    }
}

impl Here {
    pub async fn new() -> Here {
        Here { transport: local(None).await.unwrap(), directory: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().into()
    }

    pub fn write(&self, name: &str, text: &str, mode: u32) -> String {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.path(name);
        std::fs::create_dir_all(Path::new(&path).parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn view(&self, pending: &Arc<Pendings>) -> View {
        let controller = Controller {
            search: vec![self.directory.path().to_path_buf()],
            render: Box::new(|_: &Path, text, _| Ok(text.into())),
            transport: self.transport.clone(),
        };
        let machines = Arc::new(Alone(self.transport.clone()));
        View::new("here", self.transport.clone(), pending.clone(), (Arc::new(controller), machines))
    }

    pub async fn plan(&self, module: &str, arguments: Value) -> Result<Planned, ModuleError> {
        let entry = find(module).unwrap();
        let Value::Object(arguments) = arguments else { panic!("{arguments}") };
        (entry.build)(&entry.arguments(arguments)?)?.plan(&self.view(&Arc::default())).await
    }

    pub async fn apply(&self, planned: &Planned) -> Result<Applied, ApplyError> {
        let machines = Alone(self.transport.clone());
        let reach =
            Reach { host: &*self.transport, controller: &*self.transport, machines: &machines, progress: &|_| {} };
        let mut last = Applied::default();
        for change in &planned.changes {
            last = apply(change, reach).await?;
        }
        Ok(last)
    }

    /// Plans and applies; returns the output of the last command.
    pub async fn run(&self, module: &str, arguments: Value) -> Output {
        let planned = self.plan(module, arguments).await.unwrap();
        self.apply(&planned).await.unwrap().output.unwrap_or_default()
    }

    /// Plans, applies, and sees that a second plan is empty; returns the number of the first's changes.
    pub async fn twice(&self, module: &str, arguments: Value) -> usize {
        let first = self.plan(module, arguments.clone()).await.unwrap();
        self.apply(&first).await.unwrap();
        let second = self.plan(module, arguments).await.unwrap();
        assert!(second.changes.is_empty(), "a second run changes nothing: {:#?}", second.changes);
        first.changes.len()
    }
}
