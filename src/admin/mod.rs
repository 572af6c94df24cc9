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
//! | [`inquiry`] | asking the supervisor's thread |
//! | [`health`] | whether the process lives, and whether it answers requests |
//! | [`server`] | the sockets, and what is found at which path |

pub mod accounts;
pub mod health;
pub mod inquiry;
pub mod plan;
pub mod server;

use std::rc::Rc;
use std::sync::{Arc, PoisonError, RwLock};

use mppd_engine::slog::{Logger, warn};

use self::inquiry::Inquiries;
use self::plan::AdminPlan;
use self::server::Served;
use crate::control::Desk;
use crate::listener::{Endpoint, HandedOver, ListenError, ListenPlan, Socket, Sockets};
use crate::plan::Plan;
use crate::status::ServerStatus;

/// Who writes the text of `/metrics`.
pub trait Exposition: Send + Sync + 'static {
    /// The whole text, in the text format of Prometheus. How the server is, if it says so in time.
    fn text(&self, status: Option<&ServerStatus>) -> String;

    /// Its `Content-Type`.
    fn content_type(&self) -> &'static str {
        "text/plain; version=0.0.4; charset=utf-8"
    }
}

/// What is always true: that mppd is there, and which version.
#[derive(Debug, Clone, Copy, Default)]
pub struct Presence;

impl Exposition for Presence {
    fn text(&self, _: Option<&ServerStatus>) -> String {
        format!(
            "# HELP mppd_build_info The version of mppd.\n# TYPE mppd_build_info gauge\n\
             mppd_build_info{{version=\"{}\"}} 1\n",
            env!("CARGO_PKG_VERSION")
        )
    }
}

/// What the pages are about: the configuration in force.
#[derive(Debug)]
pub struct InForce {
    /// `<admin>`.
    pub admin: AdminPlan,
}

impl InForce {
    /// What the console shows of a plan.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        InForce { admin: plan.admin.clone() }
    }
}

/// What every answer may need.
pub struct Console {
    in_force: RwLock<Arc<InForce>>,
    /// Asks how the server is.
    pub inquiries: Inquiries,
    /// Writes `/metrics`.
    pub exposition: Arc<dyn Exposition>,
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
        exposition: Arc<dyn Exposition>,
        logger: Logger,
    ) -> std::io::Result<Self> {
        let console = Arc::new(Console {
            in_force: RwLock::new(Arc::new(InForce::of(plan))),
            inquiries: Inquiries::answered_by(desk),
            exposition,
            logger,
        });
        let serve = |sockets| Served::start(sockets, &console, plan.admin.max_connections);
        let served = sockets.into_iter().map(serve).collect::<Result<_, _>>()?;
        Ok(Admin { console, served })
    }

    /// Opens the sockets of a plan that are not open yet, and gives those that are the permissions
    /// that it says.
    ///
    /// # Errors
    /// The first that can't be opened.
    pub fn prepare(
        &self,
        plan: &AdminPlan,
        handed_over: &HandedOver,
    ) -> Result<Vec<Sockets>, ListenError> {
        let open = |plan: &&ListenPlan| {
            self.served.iter().find(|served| served.plan.endpoint == plan.endpoint)
        };
        let new: Vec<ListenPlan> =
            plan.listen.iter().filter(|plan| open(plan).is_none()).cloned().collect();
        let sockets = Socket::open_all(&new, handed_over)?;
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
        for served in self.served {
            served.stop(&self.console.logger);
        }
    }
}
