//! The store in Redis or Valkey, one server or a cluster: a string for each record, and a script
//! that exchanges one for another. Every script touches one key, so that keys may be on any node of
//! a cluster.

mod probe;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use mppd_database::Secret;
use mppd_engine::Escaped;
use redis::aio::MultiplexedConnection;
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, FromRedisValue,
    IntoConnectionInfo as _, RedisConnectionInfo, RedisError, RedisResult, Script, ServerErrorKind,
    Value, cmd,
};
use slog::{Logger, warn};

use crate::backend::Stored;
use crate::connections::{Connected, Connections};
use crate::remote::{Held, Page, Server, ServerError};
use crate::table::{Millis, timestamp};

/// Puts ARGV[2] in the place of what begins with ARGV[1], for ARGV[3] milliseconds. An empty text
/// stands for no record, here and there.
const EXCHANGE: &str = "
local held = redis.call('GET', KEYS[1])
if held then
  if string.sub(held, 1, 8) ~= ARGV[1] then return 0 end
elseif ARGV[1] ~= '' then
  return 0
end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 1";

/// A record is kept for so much longer than it is remembered: the clocks of the nodes may differ.
const GRACE: Millis = 60_000;

/// The longest time that is given to a server: a hundred years.
const LONGEST: Millis = 100 * 366 * 86_400_000;

/// Octets of a version, and of the time that follows it.
const NUMBER: usize = 8;

/// Keys that a server is asked to look at for each part of a list.
const LOOKED_AT: usize = 1_000;

/// What the server says where a key holds no string.
const WRONG_TYPE: &str = "WRONGTYPE";

/// How often the cluster's own client tries again.
const RETRIES: u32 = 3;

/// What evicts only records that expire, those first that do so soonest.
const FIT_POLICY: &str = "volatile-ttl";

/// How a server, or a cluster, is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisPlan {
    /// The server, or some nodes of the cluster.
    pub nodes: Vec<RedisAddress>,
    /// Whether it is a cluster.
    pub cluster: bool,
    /// User name; that of everybody where there is none.
    pub user: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// What all keys begin with.
    pub prefix: String,
    /// How long anything may take.
    pub timeout: Duration,
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisAddress {
    /// Host name and port, or a socket file.
    pub place: ConnectionAddr,
    /// Number of the database.
    pub database: i64,
}

impl RedisAddress {
    /// From `redis://HOST:PORT/DATABASE` or `unix:PATH`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(url: &str) -> Result<Self, String> {
        let url = url.trim();
        if let Some(rest) = url.strip_prefix("unix:") {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            let place = ConnectionAddr::Unix(path.into());
            return Ok(RedisAddress { place, database: 0 });
        }
        if url.starts_with("rediss:") || url.starts_with("valkeys:") {
            return Err("connections to Redis are not encrypted".to_owned());
        }
        let info = url.into_connection_info();
        let info = info.map_err(|_| "this is not the address of a server".to_owned())?;
        let settings = info.redis_settings();
        if settings.password().is_some() || settings.username().is_some() {
            return Err("the address holds a user or a password".to_owned());
        }
        Ok(RedisAddress { place: info.addr().clone(), database: settings.db() })
    }
}

impl RedisPlan {
    fn infos(&self) -> RedisResult<Vec<ConnectionInfo>> {
        self.nodes.iter().map(|node| self.info(&node.place, node.database)).collect()
    }

    fn info(&self, place: &ConnectionAddr, database: i64) -> RedisResult<ConnectionInfo> {
        let mut settings = RedisConnectionInfo::default().set_db(database);
        if let Some(user) = &self.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &self.password {
            settings = settings.set_password(password.reveal());
        }
        Ok(place.clone().into_connection_info()?.set_redis_settings(settings))
    }

    fn config(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout))
    }

    async fn connect(&self) -> RedisResult<Link> {
        let infos = self.infos()?;
        if self.cluster {
            return Ok(Link::Cluster(self.cluster(infos)?.get_async_connection().await?));
        }
        let missing = || RedisError::from((ErrorKind::InvalidClientConfig, "no server"));
        let info = infos.into_iter().next().ok_or_else(missing)?;
        self.connect_to(info).await.map(Link::One)
    }

    async fn connect_to(&self, info: ConnectionInfo) -> RedisResult<MultiplexedConnection> {
        let client = Client::open(info)?;
        client.get_multiplexed_async_connection_with_config(&self.config()).await
    }

    fn cluster(&self, nodes: Vec<ConnectionInfo>) -> RedisResult<ClusterClient> {
        ClusterClientBuilder::new(nodes)
            .retries(RETRIES)
            .connection_timeout(self.timeout)
            .response_timeout(self.timeout)
            .build()
    }
}

#[derive(Clone)]
enum Link {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Link {
    async fn ask<T: FromRedisValue>(&mut self, question: &Cmd) -> RedisResult<T> {
        match self {
            Link::One(connection) => question.query_async(connection).await,
            Link::Cluster(connection) => question.query_async(connection).await,
        }
    }
}

pub(crate) struct Redis {
    plan: RedisPlan,
    prefix: Vec<u8>,
    script: Script,
    /// Whoever asks keeps it until there is an answer.
    link: RefCell<Option<(Link, Rc<Connected>)>>,
    connections: Connections,
    policy_said: Cell<bool>,
    logger: Logger,
}

impl Redis {
    pub(crate) fn new(plan: RedisPlan, connections: Connections, logger: Logger) -> Self {
        Redis {
            prefix: format!("{}:", plan.prefix).into_bytes(),
            plan,
            script: Script::new(EXCHANGE),
            link: RefCell::default(),
            connections,
            policy_said: Cell::new(false),
            logger,
        }
    }

    fn whole(&self, key: &[u8]) -> Vec<u8> {
        [&self.prefix, key].concat()
    }

    async fn link(&self) -> RedisResult<(Link, Rc<Connected>)> {
        let link = self.link.borrow().clone();
        if let Some(link) = link {
            return Ok(link);
        }
        let link = (self.plan.connect().await?, Rc::new(self.connections.opened()));
        *self.link.borrow_mut() = Some(link.clone());
        Ok(link)
    }

    async fn ask<T: FromRedisValue>(&self, question: &Cmd) -> RedisResult<T> {
        let (mut link, _counted) = self.link().await?;
        let answer = link.ask(question).await;
        // The next question is asked over a new connection.
        let is_lost = |error: &RedisError| error.is_io_error() || error.is_unrecoverable_error();
        if answer.as_ref().is_err_and(is_lost) {
            self.link.borrow_mut().take();
        }
        answer
    }

    /// Calls the script by its hash, and with its text where the server does not know it.
    async fn call(&self, key: &[u8], arguments: [&[u8]; 3]) -> RedisResult<bool> {
        let question = |name: &str, script: &str| {
            let mut question = cmd(name);
            question.arg(script).arg(1).arg(self.whole(key));
            for argument in arguments {
                question.arg(argument);
            }
            question
        };
        match self.ask(&question("EVALSHA", self.script.get_hash())).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.ask(&question("EVAL", EXCHANGE)).await
            }
            answer => answer,
        }
    }

    /// Warns where a server that is full would let clients go that have proved themselves. One that
    /// does not say how it is configured is believed to be fit.
    async fn check_policy(&self) {
        if self.policy_said.get() {
            return;
        }
        let answer: RedisResult<Vec<(String, String)>> =
            self.ask(cmd("CONFIG").arg("GET").arg("maxmemory*")).await;
        let settings = answer.unwrap_or_default();
        let setting = |name: &str| {
            settings.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
        };
        let is_bounded = setting("maxmemory").is_some_and(|most| most != "0");
        match setting("maxmemory-policy") {
            Some(policy) if is_bounded && ![FIT_POLICY, "noeviction"].contains(&policy) => {
                self.policy_said.set(true);
                warn!(self.logger, "a Redis that is full may forget known clients before new ones";
                    "maxmemory_policy" => policy, "better" => FIT_POLICY);
            }
            _ => {}
        }
    }

    /// The first keys behind one that begin so, in their order, and whether these are all: all
    /// nodes are asked for all of theirs.
    async fn keys(
        &self,
        prefix: &[u8],
        behind: Option<&Vec<u8>>,
        limit: usize,
    ) -> RedisResult<(Vec<Vec<u8>>, bool)> {
        let mut keys = BTreeSet::new();
        let mut is_all = true;
        for mut node in self.nodes().await? {
            let mut cursor = 0u64;
            loop {
                let mut question = cmd("SCAN");
                question.arg(cursor).arg("MATCH").arg(pattern(prefix));
                question.arg("COUNT").arg(LOOKED_AT);
                let (next, found): (u64, Vec<Vec<u8>>) = question.query_async(&mut node).await?;
                keys.extend(found.into_iter().filter(|key| behind < Some(key)));
                while keys.len() > limit {
                    keys.pop_last();
                    is_all = false;
                }
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
        }
        Ok((keys.into_iter().collect(), is_all))
    }

    /// What is kept under a whole key and not forgotten by now.
    async fn stored(&self, key: &[u8], now: Millis) -> Result<Option<Stored>, ServerError> {
        let record: RedisResult<Option<Vec<u8>>> = self.ask(cmd("GET").arg(key)).await;
        let Some(record) = record.map_err(|error| of(key, error))? else { return Ok(None) };
        let Held { until, octets, .. } = unpack(key, &record)?;
        let key = key.get(self.prefix.len()..).unwrap_or_default().to_vec();
        Ok((until > now).then(|| Stored { key, octets, until: timestamp(until) }))
    }

    /// A connection to each server that has keys.
    async fn nodes(&self) -> RedisResult<Vec<MultiplexedConnection>> {
        match self.link().await?.0 {
            Link::One(connection) => Ok(vec![connection]),
            Link::Cluster(_) => {
                let mut nodes = Vec::new();
                for place in masters(&self.ask(cmd("CLUSTER").arg("SLOTS")).await?) {
                    nodes.push(self.plan.connect_to(self.plan.info(&place, 0)?).await?);
                }
                Ok(nodes)
            }
        }
    }
}

impl Server for Redis {
    async fn prepare(&self) -> Result<(), ServerError> {
        // One that only seems to be there would never answer, and its name may have moved.
        self.link.borrow_mut().take();
        let pong: RedisResult<Value> = self.ask(&cmd("PING")).await;
        pong.map_err(ServerError::from)?;
        self.check_policy().await;
        Ok(())
    }

    async fn read(&self, key: &[u8]) -> Result<Option<Held>, ServerError> {
        let key = self.whole(key);
        let mut answer = self.ask::<Option<Vec<u8>>>(cmd("GET").arg(&key)).await;
        // A connection that rested may have been dead before it was asked.
        if answer.as_ref().is_err_and(RedisError::is_io_error) {
            answer = self.ask(cmd("GET").arg(&key)).await;
        }
        let answer = answer.map_err(|error| of(&key, error))?;
        answer.map(|record| unpack(&key, &record)).transpose()
    }

    async fn exchange(
        &self,
        key: &[u8],
        held: Option<&Held>,
        new: Option<&Held>,
        now: Millis,
    ) -> Result<bool, ServerError> {
        let version = held.map(|held| held.version.to_be_bytes());
        let version = version.as_ref().map_or(&[][..], |version| version);
        let packed = new.map(pack).unwrap_or_default();
        let left = new.map_or(GRACE, |new| new.until.saturating_sub(now).saturating_add(GRACE));
        let left = left.clamp(GRACE, LONGEST).to_string();
        self.call(key, [version, &packed, left.as_bytes()]).await.map_err(ServerError::from)
    }

    fn may_send_twice(&self) -> bool {
        self.plan.cluster
    }

    async fn list(&self, page: &Page) -> Result<Vec<Stored>, ServerError> {
        let prefix = self.whole(&page.prefix);
        let mut behind = page.behind.as_ref().map(|behind| self.whole(behind));
        let mut listed = Vec::new();
        loop {
            let keys = self.keys(&prefix, behind.as_ref(), page.limit.max(LOOKED_AT)).await;
            let (keys, is_all) = keys.map_err(ServerError::from)?;
            for key in &keys {
                if listed.len() == page.limit {
                    return Ok(listed);
                }
                match self.stored(key, page.now).await {
                    Ok(stored) => listed.extend(stored),
                    Err(ServerError::Key(reason)) => {
                        warn!(self.logger, "a key is left out of a list"; "reason" => reason);
                    }
                    Err(error) => return Err(error),
                }
            }
            if is_all {
                return Ok(listed);
            }
            behind = keys.into_iter().last();
        }
    }

    async fn tend(&self) -> Result<(), ServerError> {
        // Redis removes what has expired, and what is too much.
        Ok(())
    }
}

fn pack(held: &Held) -> Vec<u8> {
    let mut packed = held.version.to_be_bytes().to_vec();
    packed.extend_from_slice(&held.until.to_be_bytes());
    packed.extend_from_slice(&held.octets);
    packed
}

/// What an error says about the server: one that keeps something else under a key is well.
fn of(key: &[u8], error: RedisError) -> ServerError {
    if error.code() == Some(WRONG_TYPE) { strange(key) } else { error.into() }
}

fn strange(key: &[u8]) -> ServerError {
    let key = Escaped(key);
    ServerError::Key(format!("holds something else than a record under the key \"{key}\""))
}

fn unpack(key: &[u8], packed: &[u8]) -> Result<Held, ServerError> {
    let strange = || strange(key);
    let (version, rest) = packed.split_first_chunk::<NUMBER>().ok_or_else(strange)?;
    let (until, octets) = rest.split_first_chunk::<NUMBER>().ok_or_else(strange)?;
    Ok(Held {
        version: u64::from_be_bytes(*version),
        until: Millis::from_be_bytes(*until),
        octets: octets.to_vec(),
    })
}

/// What matches all that begins so, as `SCAN` reads it.
fn pattern(prefix: &[u8]) -> Vec<u8> {
    let mut pattern = Vec::with_capacity(prefix.len() + 1);
    for octet in prefix {
        if b"*?[]\\^".contains(octet) {
            pattern.push(b'\\');
        }
        pattern.push(*octet);
    }
    pattern.push(b'*');
    pattern
}

/// The places of the masters in an answer to `CLUSTER SLOTS`: first, last, master, replicas.
fn masters(slots: &Value) -> Vec<ConnectionAddr> {
    let mut masters = Vec::new();
    let Value::Array(ranges) = slots else { return masters };
    for range in ranges {
        let Value::Array(range) = range else { continue };
        let Some(Value::Array(master)) = range.get(2) else { continue };
        let [Value::BulkString(host), Value::Int(port), ..] = master.as_slice() else { continue };
        let Ok(port) = u16::try_from(*port) else { continue };
        let place = ConnectionAddr::Tcp(String::from_utf8_lossy(host).into_owned(), port);
        if !masters.contains(&place) {
            masters.push(place);
        }
    }
    masters
}

impl From<RedisError> for ServerError {
    fn from(error: RedisError) -> Self {
        ServerError::Away(Escaped(error.to_string().as_bytes()).to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    #[test]
    fn addresses_name_a_server_and_no_secrets() {
        let read = |url| RedisAddress::parse(url).map(|address| address.place.to_string());
        assert_eq!(read("redis://127.0.0.1:7000/3").as_deref(), Ok("127.0.0.1:7000"));
        assert_eq!(read("redis://redis.example.com").as_deref(), Ok("redis.example.com:6379"));
        assert_eq!(read("unix:/run/redis/socket").as_deref(), Ok("/run/redis/socket"));
        assert!(read("rediss://127.0.0.1").is_err());
        assert!(read("redis://:geheim@127.0.0.1").is_err());
        assert!(read("127.0.0.1:6379").is_err());
    }

    /// Says yes to whatever it is asked; the number of each connection, from 1.
    fn yes_sayer(listener: &TcpListener, connections: &Sender<usize>) {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let Ok(()) = connections.send(number + 1) else { return };
            std::thread::spawn(move || {
                let mut asked = [0; 4_096];
                while let Ok(length @ 1..) = stream.read(&mut asked) {
                    let questions = asked[..length].split(|octet| *octet == b'*').count() - 1;
                    if stream.write_all(&b"+OK\r\n".repeat(questions)).is_err() {
                        return;
                    }
                }
            });
        }
    }

    #[test]
    fn a_server_that_was_away_is_asked_over_a_new_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let (sender, connections) = channel();
        std::thread::spawn(move || yes_sayer(&listener, &sender));
        let plan = RedisPlan {
            nodes: vec![RedisAddress::parse(&url).unwrap()],
            cluster: false,
            user: None,
            password: None,
            prefix: "mppd".to_owned(),
            timeout: Duration::from_secs(10),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let redis =
                Redis::new(plan, Connections::default(), Logger::root(slog::Discard, slog::o!()));
            redis.prepare().await.unwrap();
            redis.prepare().await.unwrap();
        });
        assert_eq!(connections.try_iter().last(), Some(2));
    }

    #[test]
    fn what_was_packed_is_unpacked() {
        let held = Held { version: u64::MAX - 1, until: 99, octets: b"record".to_vec() };
        assert_eq!(unpack(b"key", &pack(&held)).unwrap(), held);
        assert!(unpack(b"key", b"too short").is_err());
    }

    #[test]
    fn what_a_pattern_would_read_is_escaped() {
        assert_eq!(pattern(b"a*[b]?\\"), b"a\\*\\[b\\]\\?\\\\*");
    }
}
