//! `<state_store>`: where engines keep what they remember.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use mppd_database::connection::reveal;
use mppd_database::{ConnectionOptions, Files, SecretOptions};
use mppd_engine::config::{Period, Positive, Spanned};
use mppd_engine::{Finding, options};
use redis::ConnectionAddr;
use slog::Logger;

use crate::backend::Backend;
use crate::beside::Beside;
use crate::counted::Counted;
use crate::embedded::Embedded;
use crate::file::path_in;
use crate::mysql::{MySql, MySqlPlan};
use crate::overlay::Overlay;
use crate::redis::{Redis, RedisAddress, RedisPlan};
use crate::remote::{Manners, ReadOnly, Remote};
use crate::{StateError, StateStore};

options! {
    /// `<state_store>`: where engines keep what they remember. One of these; the embedded store
    /// unless given.
    pub struct StateStoreOptions: Default {
        /// In this process, and in a file in the state directory.
        embedded: Option<EmbeddedOptions> = None,
        /// In MySQL or MariaDB, where many servers share it.
        mysql: Option<Spanned<MySqlOptions>> = None,
        /// In Redis or Valkey, where many servers share it.
        redis: Option<Spanned<RedisOptions>> = None,
    }
}

options! {
    /// `<embedded>`: in memory, and within a second in the file `state.sqlite` in the state
    /// directory.
    pub struct EmbeddedOptions: Default {
        /// Most records; where there are as many, those that expire first give way to new ones. A
        /// record takes about 200 octets of memory.
        max_entries: Positive<usize> = Positive(1_000_000),
    }
}

options! {
    /// `<mysql>`: in the table `state_store`, which mppd makes where its user may; else
    /// `mppd schema state_store` prints it.
    pub struct MySqlOptions {
        /// The server.
        connection: ConnectionOptions,
        /// Most connections at once, beside one that tidies up.
        connections: Positive<usize> = Positive(8),
        /// Most records; where there are more, those that expire first are removed.
        max_entries: Positive<u64> = Positive(10_000_000),
        /// How long reading or changing a record may take.
        timeout: Positive<Period> = Positive(Period::seconds(2)),
        /// About how often records that have expired, or are too many, are removed.
        sweep_interval: Positive<Period> = Positive(Period::seconds(60)),
    }
}

options! {
    /// `<redis>`: a server of Redis or Valkey, or a cluster of them.
    pub struct RedisOptions {
        /// `redis://HOST:PORT`, `redis://HOST:PORT/DATABASE` or `unix:PATH`. Of a cluster, any of
        /// its nodes; may stand several times then.
        url: Vec<Spanned<String>>,
        /// Whether it is a cluster.
        cluster: bool = false,
        /// User name; the server's default user unless given.
        user: Option<String> = None,
        /// Password.
        password: Option<Spanned<SecretOptions>> = None,
        /// What all keys begin with, before a colon; sites that share a server need different ones.
        prefix: String = String::from("mppd"),
        /// How long reading or changing a record may take.
        timeout: Positive<Period> = Positive(Period::seconds(2)),
    }
}

/// The store that is meant: options whose secrets have been read. Stores of equal plans are one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorePlan {
    /// The embedded one.
    Embedded {
        /// Most records.
        max_entries: usize,
    },
    /// A table.
    MySql(MySqlPlan),
    /// Keys.
    Redis(RedisPlan),
}

impl Default for StorePlan {
    fn default() -> Self {
        StorePlan::Embedded { max_entries: EmbeddedOptions::default().max_entries.0 }
    }
}

impl StateStoreOptions {
    /// The store that is meant. Nobody is asked anything yet.
    ///
    /// # Errors
    /// Everything that is wrong with the options and the files that they name.
    pub fn resolve(&self, files: &mut impl Files) -> Result<StorePlan, Vec<Finding>> {
        let several = self.several();
        let plan = match (&self.mysql, &self.redis) {
            (Some(options), _) => mysql(&options.value, files).map(StorePlan::MySql),
            (None, Some(options)) => redis(options, files).map(StorePlan::Redis),
            (None, None) => {
                let embedded = self.embedded.clone().unwrap_or_default();
                Ok(StorePlan::Embedded { max_entries: embedded.max_entries.0 })
            }
        };
        match (plan, several) {
            (plan, None) => plan,
            (Ok(_), Some(finding)) => Err(vec![finding]),
            (Err(mut findings), Some(finding)) => {
                findings.push(finding);
                Err(findings)
            }
        }
    }

    /// What is wrong if there is more than one.
    fn several(&self) -> Option<Finding> {
        let mysql = self.mysql.as_ref().map(|options| options.span);
        let redis = self.redis.as_ref().map(|options| options.span);
        let of_two = mysql.filter(|_| self.embedded.is_some());
        let of_three = redis.filter(|_| self.embedded.is_some() || mysql.is_some());
        let span = of_three.or(of_two)?;
        let finding = Finding::error(span, "there can be only one state store");
        Some(finding.with_help("keep one of <embedded>, <mysql> and <redis>"))
    }
}

fn mysql(options: &MySqlOptions, files: &mut impl Files) -> Result<MySqlPlan, Vec<Finding>> {
    Ok(MySqlPlan {
        connection: mppd_database::resolve(&options.connection, files)?,
        connections: options.connections.0,
        max_entries: options.max_entries.0,
        timeout: options.timeout.0.0,
        sweep_interval: options.sweep_interval.0.0,
    })
}

fn redis(
    options: &Spanned<RedisOptions>,
    files: &mut impl Files,
) -> Result<RedisPlan, Vec<Finding>> {
    let Spanned { value: options, span } = options;
    let mut findings = Vec::new();
    let mut nodes = Vec::new();
    for url in &options.url {
        match RedisAddress::parse(&url.value) {
            Ok(node) => nodes.push(node),
            Err(message) => {
                let help = "expected redis://HOST:PORT, redis://HOST:PORT/DATABASE or unix:PATH; \
                    user and password have elements of their own";
                findings.push(Finding::error(url.span, message).with_help(help));
            }
        }
    }
    if options.url.is_empty() {
        let finding = Finding::error(*span, "the server is missing");
        findings.push(finding.with_help("name it: <url>redis://127.0.0.1:6379</url>"));
    }
    if let (false, Some(second)) = (options.cluster, options.url.get(1)) {
        let finding = Finding::error(second.span, "one server is expected here");
        findings.push(finding.with_help("of a cluster, say <cluster>true</cluster>"));
    }
    if options.cluster {
        findings.extend(options.url.iter().filter_map(unfit_for_cluster));
    }
    let password = options.password.as_ref().map(|secret| reveal(secret, files)).transpose();
    let password = password.map_err(|finding| findings.push(finding)).unwrap_or_default();
    if !findings.is_empty() {
        return Err(findings);
    }
    Ok(RedisPlan {
        nodes,
        cluster: options.cluster,
        user: options.user.clone(),
        password,
        prefix: options.prefix.clone(),
        timeout: options.timeout.0.0,
    })
}

/// What keeps an address, if it is one, from being that of a cluster's node.
fn unfit_for_cluster(url: &Spanned<String>) -> Option<Finding> {
    let node = RedisAddress::parse(&url.value).ok()?;
    let message = match node.place {
        ConnectionAddr::Unix(_) => "the nodes of a cluster are reached by TCP",
        _ if node.database != 0 => "a cluster has only the database 0",
        _ => return None,
    };
    Some(Finding::error(url.span, message))
}

fn start_mysql(plan: &MySqlPlan, logger: &Logger) -> Result<Remote, StateError> {
    let manners = mysql_manners(plan);
    let (plan, said) = (plan.clone(), logger.clone());
    Remote::start(move |counted| MySql::new(&plan, counted, said), manners, logger)
}

fn mysql_manners(plan: &MySqlPlan) -> Manners {
    Manners { timeout: plan.timeout, tended_every: plan.sweep_interval }
}

fn start_redis(plan: &RedisPlan, logger: &Logger) -> Result<Remote, StateError> {
    let manners = redis_manners(plan);
    let (plan, said) = (plan.clone(), logger.clone());
    Remote::start(move |counted| Redis::new(plan, counted, said), manners, logger)
}

fn redis_manners(plan: &RedisPlan) -> Manners {
    Manners { timeout: plan.timeout, tended_every: Duration::from_hours(1) }
}

impl StorePlan {
    /// Opens the store for a command, beside a server that may be running. Where the store is in
    /// the state directory, `server_runs` says whether a server has it; if none has, the command
    /// must keep others from taking it.
    ///
    /// # Errors
    /// What keeps it from being used.
    pub fn open_beside(
        &self,
        directory: &Path,
        server_runs: bool,
        logger: &Logger,
    ) -> Result<StateStore, StateError> {
        match self {
            StorePlan::Embedded { .. } => {
                Ok(StateStore::new(Beside::open(directory, server_runs)?))
            }
            StorePlan::MySql(plan) => Ok(StateStore::new(start_mysql(plan, logger)?)),
            StorePlan::Redis(plan) => Ok(StateStore::new(start_redis(plan, logger)?)),
        }
    }

    /// Opens the store for somebody who wants to know what would happen: it is read, whether or not
    /// a server runs, and what changes stays in memory.
    ///
    /// # Errors
    /// What keeps it from being read.
    pub fn open_to_look(&self, directory: &Path, logger: &Logger) -> Result<Overlay, StateError> {
        match self {
            StorePlan::Embedded { .. } => Overlay::over_file(directory),
            StorePlan::MySql(plan) => {
                let manners = mysql_manners(plan);
                let (plan, said) = (plan.clone(), logger.clone());
                let server = move |counted| ReadOnly(MySql::new(&plan, counted, said));
                Ok(Overlay::over_remote(Remote::start(server, manners, logger)?))
            }
            StorePlan::Redis(plan) => {
                let manners = redis_manners(plan);
                let (plan, said) = (plan.clone(), logger.clone());
                let server = move |counted| ReadOnly(Redis::new(plan, counted, said));
                Ok(Overlay::over_remote(Remote::start(server, manners, logger)?))
            }
        }
    }

    /// Whether the store is in the state directory.
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        matches!(self, StorePlan::Embedded { .. })
    }
}

/// A store that is open for a server.
pub struct OpenStore {
    plan: StorePlan,
    directory: PathBuf,
    backend: Arc<dyn Backend>,
    embedded: Option<Weak<Embedded>>,
}

impl OpenStore {
    /// Opens the store that is meant. The server has the state directory for itself. This may take
    /// a while where there is much to read.
    ///
    /// # Errors
    /// What keeps it from being used at all. One that is away is no fault: it may come back.
    pub fn open(plan: &StorePlan, directory: &Path, logger: &Logger) -> Result<Self, StateError> {
        let (backend, embedded): (Arc<dyn Backend>, _) = match plan {
            StorePlan::Embedded { max_entries } => {
                let embedded = Embedded::open(&path_in(directory), *max_entries, logger)?;
                let embedded = Arc::new(embedded);
                let known = Arc::downgrade(&embedded);
                (embedded, Some(known))
            }
            StorePlan::MySql(plan) => (Arc::new(start_mysql(plan, logger)?), None),
            StorePlan::Redis(plan) => (Arc::new(start_redis(plan, logger)?), None),
        };
        let name = match plan {
            StorePlan::Embedded { .. } => "embedded",
            StorePlan::MySql(_) => "mysql",
            StorePlan::Redis(_) => "redis",
        };
        let backend = Arc::new(Counted::new(name, backend));
        Ok(OpenStore { plan: plan.clone(), directory: directory.to_owned(), backend, embedded })
    }

    /// Whether it is, or can become, the store that is meant: two stores in one state directory
    /// would write the same file.
    #[must_use]
    pub fn serves(&self, plan: &StorePlan, directory: &Path) -> bool {
        match plan {
            StorePlan::Embedded { .. } => self.embedded.is_some() && self.directory == directory,
            _ => self.plan == *plan,
        }
    }

    /// Takes over what may change while a store is open.
    pub fn adjust(&self, plan: &StorePlan) {
        let StorePlan::Embedded { max_entries } = plan else { return };
        if let Some(embedded) = self.embedded.as_ref().and_then(Weak::upgrade) {
            embedded.set_max_entries(*max_entries);
        }
    }

    /// Its records.
    #[must_use]
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// Whether any engine has it still.
    #[must_use]
    pub fn is_used(&self) -> bool {
        Arc::strong_count(&self.backend) > 1
    }
}

impl fmt::Debug for OpenStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenStore").field("plan", &self.plan).finish_non_exhaustive()
    }
}
