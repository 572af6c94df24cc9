//! The sockets of the admin listener, and what is found at which path.
//!
//! Each socket is accepted from on a thread of its own and answered on another; both are idle
//! unless somebody looks. Connections, header and body sizes and times are bounded.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, web};
use mppd_engine::slog::{Logger, debug, info};

use super::guard::guard;
use super::{
    Console, assets, chains, charts, configuration, health, live, login, overview, page, search,
    top, trial,
};
use crate::listener::{ListenPlan, Socket, SocketFile, Sockets};

/// How long a peer may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may wait for another request.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How much the console gives way to requests: as nice(1) counts.
const NICENESS: i32 = 15;

/// Threads for what takes long: hashing passwords, reading records from files.
const BLOCKING_THREADS: usize = 4;

/// The largest body of a request, in octets.
const LARGEST_BODY: usize = 64 << 10;

/// A socket that is answered at.
pub struct Served {
    /// As configured.
    pub plan: ListenPlan,
    handles: Vec<ServerHandle>,
}

impl Served {
    /// Accepts from the sockets of one `<listen>`.
    ///
    /// # Errors
    /// They can't be accepted from.
    pub fn start(
        (plan, sockets): Sockets,
        console: &Arc<Console>,
        max_connections: usize,
    ) -> io::Result<Self> {
        let mut served = Served { plan, handles: Vec::new() };
        for socket in sockets {
            served.open(socket, console, max_connections)?;
        }
        info!(console.logger, "the console listens"; "endpoint" => %served.plan.endpoint);
        Ok(served)
    }

    fn open(
        &mut self,
        socket: Socket,
        console: &Arc<Console>,
        max_connections: usize,
    ) -> io::Result<()> {
        let data = web::Data::from(console.clone());
        let logger = console.logger.clone();
        let server = HttpServer::new(move || {
            give_way(&logger);
            App::new()
                .app_data(data.clone())
                .app_data(web::PayloadConfig::new(LARGEST_BODY))
                .app_data(web::FormConfig::default().limit(LARGEST_BODY))
                .wrap(from_fn(guard))
                .configure(routes)
        })
        .workers(1)
        .worker_max_blocking_threads(BLOCKING_THREADS)
        .max_connections(max_connections)
        .client_request_timeout(HEAD_TIMEOUT)
        .keep_alive(KEEP_ALIVE)
        .shutdown_timeout(1)
        .disable_signals();
        let (server, file) = match socket {
            Socket::Inet(listener) => (server.listen(listener)?, None),
            Socket::Unix(listener, file) => (server.listen_uds(listener)?, Some(file)),
        };
        let server = server.run();
        self.handles.push(server.handle());
        actix_rt::spawn(async move {
            // Removed when nobody answers there any more.
            let _file: Option<SocketFile> = file;
            server.await
        });
        Ok(())
    }

    /// Closes the socket, and the connections that came in by it.
    pub fn stop(self, logger: &Logger) {
        info!(logger, "the console no longer listens"; "endpoint" => %self.plan.endpoint);
        for handle in &self.handles {
            // The command is given when the future is made; nobody waits for its end.
            actix_rt::spawn(handle.stop(false));
        }
    }
}

/// Lets the threads that answer requests go first where there are not enough processors: the current
/// thread, and all that it starts from now on, are nicer than others.
fn give_way(logger: &Logger) {
    let thread = rustix::thread::gettid();
    if let Err(error) = rustix::process::setpriority_process(Some(thread), NICENESS) {
        debug!(logger, "the console has the same priority as requests"; "reason" => %error);
    }
}

fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/healthz", web::get().to(health::healthz))
        .route("/readyz", web::get().to(health::readyz))
        .route("/metrics", web::get().to(health::metrics))
        .route("/assets/{name}", web::get().to(assets::asset))
        .route("/login", web::get().to(login::form))
        .route("/login", web::post().to(login::log_in))
        .route("/logout", web::post().to(login::log_out))
        .route("/", web::get().to(overview::overview))
        .route("/reload", web::post().to(overview::reload))
        .route("/live", web::get().to(live::live))
        .route("/live/events", web::get().to(live::events))
        .route("/search", web::get().to(search::search))
        .route("/story/{instance}", web::get().to(search::story))
        .route("/request/{id}", web::get().to(search::request))
        .route("/top", web::get().to(top::page))
        .route("/charts", web::get().to(charts::page))
        .route("/charts/data", web::get().to(charts::data))
        .route("/chains", web::get().to(chains::page))
        .route("/try", web::get().to(trial::form))
        .route("/try", web::post().to(trial::run))
        .route("/configuration", web::get().to(configuration::configuration))
        .default_service(web::to(page::not_found));
}
