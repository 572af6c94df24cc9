//! Whether a server of Redis or Valkey can be reached, and written.

use mppd_engine::Escaped;
use mppd_engine::probe::{Probe, Unreached};
use redis::{ErrorKind, RedisError, RedisResult, cmd};

use super::{Link, RedisPlan};

impl RedisPlan {
    /// A probe: whether the server, or the cluster, lets this user read, and is none that only
    /// copies another.
    pub(crate) fn probe(&self) -> Probe {
        let plan = self.clone();
        Probe::new(self.url(), async move {
            let mut link = plan.connect().await.map_err(|error| unreached(&error))?;
            let key = format!("{}:", plan.prefix);
            let read: RedisResult<Option<Vec<u8>>> = link.ask(cmd("GET").arg(key)).await;
            read.map_err(|error| unreached(&error))?;
            match link {
                Link::Cluster(_) => Ok("the cluster answers".to_owned()),
                Link::One(_) => role(&mut link).await,
            }
        })
    }

    /// Where it is, without a secret.
    fn url(&self) -> String {
        let place = |node: &super::RedisAddress| node.place.to_string();
        let places: Vec<String> = self.nodes.iter().map(place).collect();
        let database = self.nodes.first().map_or(0, |node| node.database);
        let user = self.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        format!("redis://{user}{}/{database}", places.join(","))
    }
}

/// What the server says of itself; one that does not say is believed to be fit.
async fn role(link: &mut Link) -> Result<String, Unreached> {
    let info: RedisResult<String> = link.ask(&cmd("INFO")).await;
    let info = info.unwrap_or_default();
    let said = |name: &str| info.lines().find_map(|line| line.strip_prefix(name));
    if said("role:") == Some("slave") && said("slave_read_only:") != Some("0") {
        let unreached = Unreached::new("the server is a replica, which can't be written");
        return Err(unreached.with_help("name the server that it copies"));
    }
    Ok(match said("valkey_version:").map(|it| ("Valkey", it)) {
        Some((name, version)) => format!("{name} {}", Escaped(version.as_bytes())),
        None => match said("redis_version:") {
            Some(version) => format!("Redis {}", Escaped(version.as_bytes())),
            None => "the server answers".to_owned(),
        },
    })
}

fn unreached(error: &RedisError) -> Unreached {
    let unreached = Unreached::new(Escaped(error.to_string().as_bytes()).to_string());
    match help(error) {
        Some(help) => unreached.with_help(help),
        None => unreached,
    }
}

fn help(error: &RedisError) -> Option<&'static str> {
    match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed, _) | (_, Some("WRONGPASS")) => {
            Some("correct user and password")
        }
        (_, Some("NOAUTH")) => Some("give the server's <password>"),
        (_, Some("NOPERM")) => {
            Some("let the user GET, SET and DEL keys that begin with the prefix, and EVALSHA")
        }
        _ if error.is_connection_refusal() => Some("start the server, or correct its url"),
        _ => None,
    }
}
