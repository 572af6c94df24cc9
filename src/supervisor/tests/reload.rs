//! A whole server in this process: what a reload does to requests under way, and what it leaves.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use actix::Addr;
use mppd_engine::{
    BuildContext, Engine, EngineKind, Exchange, Failure, Finding, Outcome, StatusDoc, kind,
};
use tempfile::TempDir;
use tokio::net::UnixStream;

use super::{NoOptions, answered};
use crate::config::{ConfigurationFile, LoadRequest};
use crate::listener::HandedOver;
use crate::plan::Plan;
use crate::supervisor::{Doors, Origin, Reload, ReloadError, Reloaded, Stop, Supervisor};

const SLOW: Duration = Duration::from_millis(400);

#[derive(Clone)]
struct Slow;

impl Engine for Slow {
    const NAME: &'static str = "slow";
    const SUMMARY: &'static str = "Takes its time.";
    const STATUSES: &'static [StatusDoc] =
        &[StatusDoc { name: "done", meaning: "It has.", default_action: "continue" }];
    type Options = NoOptions;

    fn build(_: NoOptions, _: &mut BuildContext<'_>) -> Result<Self, Vec<Finding>> {
        Ok(Slow)
    }

    async fn run(&self, _: &Exchange) -> Result<Outcome, Failure> {
        tokio::time::sleep(SLOW).await;
        Ok(Outcome::new("done"))
    }
}

/// A server in a directory of its own, with one slow check and records.
struct Server {
    directory: TempDir,
    supervisor: Addr<Supervisor>,
}

impl Server {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("mppd.conf.xml");
        write(directory.path(), "", "");
        let request = LoadRequest {
            file: ConfigurationFile::Path(file),
            environment: [].into(),
            set: Vec::new(),
        };
        let mut kinds: Vec<&'static dyn EngineKind> = mppd_engines::ENGINES.to_vec();
        kinds.push(kind::<Slow>());
        let logger = crate::log::silent();
        let plan = Plan::load(&request, &kinds, &logger).unwrap();
        let doors = Doors::open(&plan, HandedOver::default()).unwrap();
        let origin = Origin { request, kinds };
        let supervisor = Supervisor::start(&plan, origin, doors, logger).await.unwrap();
        Server { directory, supervisor }
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.directory.path().join("policy")).await.unwrap()
    }

    /// Writes another configuration and has it read.
    async fn reload(&self, listen: &str, common: &str) -> Result<Reloaded, ReloadError> {
        write(self.directory.path(), listen, common);
        self.supervisor.send(Reload).await.unwrap()
    }
}

fn write(directory: &Path, listen: &str, common: &str) {
    let path = directory.display();
    let xml = format!(
        "<mppd><common>
           <policy_server>
             <listen{listen}>unix:{path}/policy</listen>
             <workers>1</workers><drain_timeout>1ms</drain_timeout>
           </policy_server>
           <state_directory>{path}/state</state_directory>{common}
           <policy_begin_engines>track.received</policy_begin_engines>
           <policy_check_engines>slow</policy_check_engines>
           <policy_end_engines>track.processed</policy_end_engines>
         </common>
         <groups><group id=\"default\"><on_error>DEFER on_error</on_error></group></groups>
         <engines><track/><slow/></engines></mppd>"
    );
    std::fs::write(directory.join("mppd.conf.xml"), xml).unwrap();
}

#[actix_rt::test]
async fn a_request_under_way_keeps_its_tracker_however_short_the_drain_is() {
    let server = Server::start().await;
    let mut connection = server.connect().await;
    let asked = answered(&mut connection, "a@example.org");
    let reloaded = async {
        tokio::time::sleep(SLOW / 8).await;
        server.reload("", "<tracking><batch_rows>7</batch_rows></tracking>").await
    };
    let (reply, reloaded) = tokio::join!(asked, reloaded);
    reloaded.unwrap();
    assert_eq!(reply, "action=DUNNO\n\n");
    server.supervisor.send(Stop).await.unwrap();
}

#[actix_rt::test]
async fn a_reload_that_fails_leaves_no_tracker_behind() {
    let server = Server::start().await;
    let directory = server.directory.path();
    let _in_the_way = std::os::unix::net::UnixListener::bind(directory.join("other")).unwrap();
    let (path, state) = (directory.display(), directory.join("new_state"));
    let other = format!("<policy_server><listen>unix:{path}/other</listen></policy_server>");
    write(directory, "", &other);
    let file = directory.join("mppd.conf.xml");
    let xml = std::fs::read_to_string(&file).unwrap().replace("/state<", "/new_state<");
    std::fs::write(&file, xml).unwrap();
    server.supervisor.send(Reload).await.unwrap().unwrap_err();
    assert!(state.exists());
    tokio::time::sleep(Duration::from_millis(100)).await;
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let open = open.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    let left: Vec<_> = open.filter(|file| file.starts_with(&state)).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[actix_rt::test]
async fn a_socket_file_gets_other_permissions_by_a_reload() {
    let server = Server::start().await;
    server.reload(" mode=\"0606\"", "").await.unwrap();
    let metadata = std::fs::metadata(server.directory.path().join("policy")).unwrap();
    assert_eq!(metadata.mode() & 0o777, 0o606);
    assert_eq!(answered(&mut server.connect().await, "a@example.org").await, "action=DUNNO\n\n");
    server.supervisor.send(Stop).await.unwrap();
    assert!(!server.directory.path().join("policy").exists());
}
