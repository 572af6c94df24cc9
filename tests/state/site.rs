//! A place for state, and the nodes that share it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mppd_database::ResolvedConnection;
use mppd_engine::slog::{Discard, Logger, o};
use mppd_state::{
    Change, MySqlPlan, OpenStore, Reader, Record, RedisAddress, RedisPlan, StateError, StateStore,
    StorePlan, Writer,
};
use tempfile::TempDir;

use crate::harness::mariadb::MariaDb;
use crate::harness::redis::Redis;

/// The stores of the tests take as long as they need.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A count: the simplest thing that can be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count(pub(super) u64);

impl Record for Count {
    const KIND: u8 = b'#';

    fn write(&self, writer: &mut Writer) {
        writer.number(self.0);
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        reader.number().map(Count)
    }
}

/// Where state is kept, with the servers that keep it.
pub(super) struct Site {
    pub(super) plan: StorePlan,
    directory: TempDir,
    embedded: Option<Arc<StateStore>>,
    pub(super) mariadb: Option<MariaDb>,
    pub(super) redis: Vec<Redis>,
}

impl Site {
    fn new(plan: StorePlan) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Site { plan, directory, embedded: None, mariadb: None, redis: Vec::new() }
    }

    /// In a process of its own.
    pub(super) fn embedded() -> Self {
        let mut site = Site::new(StorePlan::Embedded { max_entries: 100_000 });
        site.embedded = Some(Arc::new(open(&site.plan, site.directory.path())));
        site
    }

    /// In MariaDB.
    pub(super) fn mysql() -> Self {
        let mariadb = block_on(MariaDb::start());
        let mut site = Site::new(StorePlan::MySql(mysql_plan(&mariadb)));
        site.mariadb = Some(mariadb);
        site
    }

    /// In Redis or Valkey.
    pub(super) fn redis() -> Self {
        Site::redis_of(vec![Redis::start()])
    }

    /// In a cluster.
    pub(super) fn cluster() -> Self {
        Site::redis_of(Redis::start_cluster().into())
    }

    fn redis_of(redis: Vec<Redis>) -> Self {
        let mut site = Site::new(StorePlan::Redis(redis_plan(&redis)));
        site.redis = redis;
        site
    }

    /// What a node sees: of a store that many share, a client of its own.
    pub(super) fn node(&self) -> Arc<StateStore> {
        let new = || Arc::new(open(&self.plan, self.directory.path()));
        self.embedded.clone().unwrap_or_else(new)
    }
}

pub(super) fn mysql_plan(mariadb: &MariaDb) -> MySqlPlan {
    mysql_plan_of(mariadb.connection())
}

pub(super) fn mysql_plan_of(connection: ResolvedConnection) -> MySqlPlan {
    MySqlPlan {
        connection,
        connections: 8,
        max_entries: 1_000_000,
        timeout: TIMEOUT,
        sweep_interval: Duration::from_mins(1),
    }
}

pub(super) fn redis_plan(servers: &[Redis]) -> RedisPlan {
    redis_plan_of(&servers.iter().map(Redis::url).collect::<Vec<_>>())
}

pub(super) fn redis_plan_of(urls: &[String]) -> RedisPlan {
    RedisPlan {
        nodes: urls.iter().map(|url| RedisAddress::parse(url).unwrap()).collect(),
        cluster: urls.len() > 1,
        user: None,
        password: None,
        prefix: "mppd".to_owned(),
        timeout: TIMEOUT,
    }
}

/// Opens a store as a server does.
pub(super) fn open(plan: &StorePlan, directory: &Path) -> StateStore {
    let store = StateStore::unopened();
    let logger = Logger::root(Discard, o!());
    store.open(OpenStore::open(plan, directory, &logger).unwrap().backend().clone());
    store
}

pub(super) fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(work)
}

pub(super) fn now() -> Timestamp {
    Timestamp::now()
}

pub(super) fn later() -> Timestamp {
    now() + Duration::from_hours(1)
}

/// Counts one more; how many there are.
pub(super) async fn count(
    store: &Arc<StateStore>,
    space: &str,
    key: &str,
) -> Result<u64, StateError> {
    let more = |count: Option<Count>| {
        let count = count.map_or(0, |Count(count)| count) + 1;
        Change::Put(Count(count), later(), count)
    };
    store.space(space).update(key.as_bytes(), now(), more).await
}

/// How many were counted.
pub(super) async fn counted(store: &Arc<StateStore>, space: &str, key: &str) -> u64 {
    let count = store.space(space).get::<Count>(key.as_bytes(), now()).await.unwrap();
    count.map_or(0, |Count(count)| count)
}
