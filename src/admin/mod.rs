//! The admin listener: the web console, `/metrics`, `/healthz` and `/readyz`.
//!
//! It is off the way of requests: its connections are accepted and answered on threads of their
//! own, few at once, each within bounds of time and size; what it wants to know of the server it
//! asks the supervisor's thread, as the control socket does.
//!
//! | module | what lives there |
//! |---|---|
//! | [`accounts`] | who may look, and what they may do |
//! | [`plan`] | `<admin>` as meant |
//! | [`guard`] | what holds for every answer |
//! | [`visitor`], [`sessions`], [`login`], `throttle` | who looks |
//! | [`page`], [`assets`] | what every page has |
//! | [`overview`], [`live`], [`search`], [`top`], [`charts`], [`chains`], [`trial`], [`configuration`] | the pages |
//! | [`history`] | what the charts show |
//! | [`records`] | the records as the pages show them |
//! | [`inquiry`] | asking the supervisor's thread |
//! | [`health`] | whether the process lives, and whether it answers requests |
//! | [`server`] | the sockets, and what is found at which path |

pub mod accounts;
pub mod assets;
pub mod chains;
pub mod charts;
pub mod configuration;
pub mod guard;
pub mod health;
pub mod history;
pub mod inquiry;
pub mod live;
pub mod login;
pub mod overview;
pub mod page;
pub mod plan;
pub mod records;
pub mod search;
pub mod server;
pub mod sessions;
mod throttle;
pub mod top;
pub mod trial;
pub mod visitor;

use std::rc::Rc;
use std::sync::{Arc, PoisonError, RwLock};

use actix_rt::task::JoinHandle;
use mppd_engine::config::Source;
use mppd_engine::slog::{Logger, warn};

use self::configuration::Part;
use self::history::History;
use self::inquiry::Inquiries;
use self::login::Doorkeeper;
use self::plan::AdminPlan;
use self::records::Records;
use self::server::Served;
use self::sessions::Sessions;
use self::throttle::Throttle;
use self::trial::Trials;
use crate::config::Configuration;
use crate::config::report::one_line;
use crate::control::Desk;
use crate::feed::Feed;
use crate::listener::{Addresses, Endpoint, HandedOver, ListenError, ListenPlan, Socket, Sockets};
use crate::metrics::Monitor;
use crate::plan::Plan;
use crate::supervisor::Origin;
use crate::supervisor::blueprint::Blueprint;
use crate::tracking::search::Place;

/// What the pages are about: the configuration in force.
#[derive(Debug)]
pub struct InForce {
    /// `<admin>`.
    pub admin: AdminPlan,
    /// Where records may be.
    pub places: Vec<Place>,
    /// What works, but probably not as meant; a line for each.
    pub warnings: Vec<String>,
    /// What the configuration is made of, with its secrets hidden.
    pub parts: Vec<Part>,
    /// Engines and chains.
    pub blueprint: Arc<Blueprint>,
}

impl InForce {
    /// What the console shows of a plan.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let Configuration { sources, warnings, .. } = &plan.configuration;
        let part = |source: &Source| Part { name: source.name(), text: source.text.clone() };
        InForce {
            admin: plan.admin.clone(),
            places: places(&plan.configuration),
            warnings: warnings.iter().map(|warning| one_line(sources, warning)).collect(),
            parts: sources.iter().map(part).collect(),
            blueprint: plan.blueprint.clone(),
        }
    }
}

/// Where the records of all groups may be.
fn places(configuration: &Configuration) -> Vec<Place> {
    let directory = &configuration.common.state_directory;
    let mut places: Vec<Place> = Vec::new();
    for group in &configuration.groups {
        let place = (configuration.connection(&group.id.value).cloned(), directory.clone());
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

/// What every answer may need.
pub struct Console {
    in_force: RwLock<Arc<InForce>>,
    /// Asks how the server is.
    pub inquiries: Inquiries,
    /// Decisions as they happen.
    pub feed: Arc<Feed>,
    /// Asks the records.
    pub records: Records,
    /// Where the configuration comes from.
    pub origin: Origin,
    /// Tries requests.
    pub trials: Trials,
    /// Who is logged in.
    pub sessions: Sessions,
    /// Counts those who could not log in.
    pub throttle: Throttle,
    /// Checks passwords.
    pub doorkeeper: Doorkeeper,
    /// What is counted.
    pub monitor: Arc<Monitor>,
    /// How that has grown.
    pub history: History,
    /// The server's logger.
    pub logger: Logger,
}

impl Console {
    /// The configuration in force.
    pub fn in_force(&self) -> Arc<InForce> {
        // No panic can leave it half-way.
        self.in_force.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn put_in_force(&self, in_force: InForce) {
        *self.in_force.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(in_force);
    }
}

/// The admin listener, for as long as it answers.
pub struct Admin {
    console: Arc<Console>,
    served: Vec<Served>,
    historian: JoinHandle<()>,
}

impl Admin {
    /// Answers at sockets that are open.
    ///
    /// # Errors
    /// They can't be accepted from.
    pub fn start<D: Desk>(
        plan: &Plan,
        sockets: Vec<Sockets>,
        desk: Rc<D>,
        monitor: Arc<Monitor>,
        feed: Arc<Feed>,
        origin: Origin,
        logger: Logger,
    ) -> std::io::Result<Self> {
        let console = Arc::new(Console {
            in_force: RwLock::new(Arc::new(InForce::of(plan))),
            inquiries: Inquiries::answered_by(desk),
            feed,
            records: Records::default(),
            origin,
            trials: Trials::default(),
            sessions: Sessions::default(),
            throttle: Throttle::default(),
            doorkeeper: Doorkeeper::default(),
            monitor,
            history: History::default(),
            logger,
        });
        let serve = |sockets| Served::start(sockets, &console, plan.admin.max_connections);
        let served = sockets.into_iter().map(serve).collect::<Result<_, _>>()?;
        let historian = actix_rt::spawn(history::keep(console.clone()));
        Ok(Admin { console, served, historian })
    }

    /// Opens the sockets of a plan that are not open yet, and gives those that are the permissions
    /// that it says.
    ///
    /// # Errors
    /// The first that can't be opened.
    pub fn prepare(
        &self,
        plan: &AdminPlan,
        addresses: &Addresses,
        handed_over: &HandedOver,
    ) -> Result<Vec<Sockets>, ListenError> {
        let open = |plan: &&ListenPlan| {
            self.served.iter().find(|served| served.plan.endpoint == plan.endpoint)
        };
        let new: Vec<ListenPlan> =
            plan.listen.iter().filter(|plan| open(plan).is_none()).cloned().collect();
        let sockets = Socket::open_all(&new, addresses, handed_over)?;
        let is_ours = |plan: &ListenPlan| match &plan.endpoint {
            Endpoint::Unix(path) => !handed_over.has_file(path),
            Endpoint::Inet { .. } => false,
        };
        for plan in plan.listen.iter().filter(|plan| is_ours(plan)) {
            if open(&plan).is_some_and(|served| served.plan != *plan) {
                plan.apply_permissions()?;
            }
        }
        Ok(sockets)
    }

    /// Puts a plan in force, with the sockets that were opened for it.
    pub fn exchange(&mut self, plan: &Plan, new: Vec<Sockets>) {
        for mut served in std::mem::take(&mut self.served) {
            match plan.admin.listen.iter().find(|plan| plan.endpoint == served.plan.endpoint) {
                Some(plan) => {
                    served.plan = plan.clone();
                    self.served.push(served);
                }
                None => served.stop(&self.console.logger),
            }
        }
        self.console.put_in_force(InForce::of(plan));
        for sockets in new {
            let endpoint = sockets.0.endpoint.clone();
            match Served::start(sockets, &self.console, plan.admin.max_connections) {
                Ok(served) => self.served.push(served),
                Err(error) => warn!(self.console.logger, "can't answer at an admin socket";
                    "endpoint" => %endpoint, "reason" => %error),
            }
        }
    }

    /// Ends it, with whatever is under way.
    pub fn stop(self) {
        self.historian.abort();
        for served in self.served {
            served.stop(&self.console.logger);
        }
    }
}
