//! Connections that are shared by all workers: a bounded number of them, on a thread of their own.
//!
//! A connection belongs to the runtime on which it was made, and workers have a runtime each; so
//! the connections of a pool live on one thread, which the workers ask. A question runs there in a
//! task of its own, which nobody cancels: a worker that has run out of time goes its way, while the
//! task reads the answer to its end, up to a limit of its own, or throws the connection away. So no
//! connection ever gives one question's answer to the next.
//!
//! The thread starts with the first question and ends with the last pool that knows it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mppd_engine::BuildContext;
use mysql_async::consts::StatusFlags;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OkPacket, Opts, Params, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::LocalSet;

use crate::answer::Answer;
use crate::connection::ResolvedConnection;
use crate::counts::{Counts, Pools};
use crate::failure::QueryError;
use crate::statement::Statement;

/// A connection that rested for longer is asked whether it is still there before it is used.
const FRESH: Duration = Duration::from_secs(1);

/// How often connections are looked for that rest too long.
const SWEEP: Duration = Duration::from_secs(5);

/// How much longer than the server a client waits for the server to end a statement.
const GRACE: Duration = Duration::from_secs(1);

/// How long a polite end of a connection may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// How often a statement is tried that the server gives up in favour of another one.
const ATTEMPTS: usize = 5;

/// Prepared statements that a connection keeps.
const STATEMENTS: usize = 256;

/// What a question comes to. The answer is shared by all who asked the same.
pub type Reply = Result<Arc<Answer>, Arc<QueryError>>;

/// Who waits for a reply.
pub(crate) type ReplySender = watch::Sender<Option<Reply>>;

/// How many connections there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolLimits {
    /// Connections that stay open however long they rest.
    pub min: usize,
    /// Most connections at once; at least one.
    pub max: usize,
    /// How long one of the others may rest before it is closed.
    pub idle_timeout: Duration,
}

/// Connections to one database. Cloning is cheap; the clones share them.
#[derive(Debug, Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    connection: ResolvedConnection,
    limits: PoolLimits,
    counts: Arc<Counts>,
    jobs: Mutex<Option<mpsc::UnboundedSender<Job>>>,
}

/// One question.
pub(crate) struct Job {
    pub(crate) statement: Statement,
    pub(crate) parameters: Vec<Vec<u8>>,
    pub(crate) asked: Box<dyn Asked>,
}

/// Who asked.
pub(crate) trait Asked: Send {
    /// Where those wait who want to know.
    fn sender(&self) -> &ReplySender;

    /// Whether nobody wants to know any more; nobody can afterwards.
    fn is_abandoned(&self) -> bool;

    /// Takes the reply.
    fn settle(&self, reply: Reply);
}

/// One who asks for herself.
impl Asked for ReplySender {
    fn sender(&self) -> &ReplySender {
        self
    }

    fn is_abandoned(&self) -> bool {
        self.is_closed()
    }

    fn settle(&self, reply: Reply) {
        self.send_replace(Some(reply));
    }
}

impl Pool {
    /// A pool that connects when it is first asked.
    #[must_use]
    pub fn new(connection: ResolvedConnection, limits: PoolLimits) -> Self {
        Pool::with_counts(connection, limits, Arc::default())
    }

    /// The same for an engine, counted with the [`Pools`] among its services, if there are any.
    #[must_use]
    pub fn of_engine(
        connection: ResolvedConnection,
        limits: PoolLimits,
        cx: &BuildContext<'_>,
    ) -> Self {
        let pools = cx.service::<Pools>();
        let counts = pools.map(|pools| pools.join(cx.id())).unwrap_or_default();
        Pool::with_counts(connection, limits, counts)
    }

    /// Has it counted under a name that no engine has.
    pub fn count_in(&self, pools: &Pools, name: &str) {
        pools.adopt(name, self.shared.counts.clone());
    }

    fn with_counts(
        connection: ResolvedConnection,
        limits: PoolLimits,
        counts: Arc<Counts>,
    ) -> Self {
        Pool { shared: Arc::new(Shared { connection, limits, counts, jobs: Mutex::new(None) }) }
    }

    /// The database.
    #[must_use]
    pub fn connection(&self) -> &ResolvedConnection {
        &self.shared.connection
    }

    /// Asks the database. Whoever drops the future is not waited for; the connection is.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn ask(&self, statement: &Statement, parameters: Vec<Vec<u8>>) -> Reply {
        let (sender, receiver) = watch::channel(None);
        let statement = statement.clone();
        self.submit(Job { statement, parameters, asked: Box::new(sender) })?;
        wait(receiver).await
    }

    /// Hands a question to the thread, which is started if need be.
    pub(crate) fn submit(&self, job: Job) -> Result<(), Arc<QueryError>> {
        let mut jobs = self.shared.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = match jobs.as_ref().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => jobs.insert(self.start().map_err(|error| thread(&error))?),
        };
        sender.send(job).map_err(|error| thread(&error))
    }

    fn start(&self) -> std::io::Result<mpsc::UnboundedSender<Job>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let (connection, limits) = (self.shared.connection.clone(), self.shared.limits);
        let counts = self.shared.counts.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let serve = move || {
            let connections = Rc::new(Connections::new(&connection, limits, counts));
            LocalSet::new().block_on(&runtime, serve(connections, receiver));
        };
        std::thread::Builder::new().name("database".to_owned()).spawn(serve)?;
        Ok(sender)
    }
}

fn thread(error: &dyn std::fmt::Display) -> Arc<QueryError> {
    Arc::new(QueryError::Thread(error.to_string()))
}

/// Waits for the reply.
pub(crate) async fn wait(mut receiver: watch::Receiver<Option<Reply>>) -> Reply {
    let lost = || thread(&"it ended before there was an answer");
    match receiver.wait_for(Option::is_some).await {
        Ok(reply) => reply.clone().unwrap_or_else(|| Err(lost())),
        Err(_) => Err(lost()),
    }
}

/// What the thread does: every question in a task of its own, until nobody can ask any more.
async fn serve(connections: Rc<Connections>, mut jobs: mpsc::UnboundedReceiver<Job>) {
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        tokio::select! {
            job = jobs.recv() => {
                let Some(job) = job else { break };
                let _task = tokio::task::spawn_local(answer(Rc::clone(&connections), job));
            }
            _ = sweep.tick() => {
                let connections = Rc::clone(&connections);
                let _task = tokio::task::spawn_local(async move { connections.sweep().await });
            }
        }
    }
    connections.close().await;
}

async fn answer(connections: Rc<Connections>, job: Job) {
    let (_under_way, begun) = (connections.counts.begin(), Instant::now());
    let Some(permit) = connections.permit(&*job.asked).await else { return };
    let reply = connections.ask(&job).await;
    drop(permit);
    connections.counts.ended(reply.is_ok(), begun.elapsed());
    job.asked.settle(reply.map(Arc::new).map_err(Arc::new));
}

/// The connections of one pool, on its thread.
struct Connections {
    opts: Opts,
    connect_timeout: Duration,
    /// How long one statement may take, as the client sees it.
    statement_timeout: Duration,
    limits: PoolLimits,
    /// One for each connection that may be in use.
    permits: Arc<Semaphore>,
    /// Those that rest, the one that rested longest first. Together with those in use they are
    /// never more than the permits: a new one is made only where none rests.
    resting: RefCell<Vec<Resting>>,
    counts: Arc<Counts>,
}

struct Resting {
    conn: Conn,
    since: Instant,
}

impl Connections {
    fn new(connection: &ResolvedConnection, limits: PoolLimits, counts: Arc<Counts>) -> Self {
        let opts = connection
            .opts()
            .stmt_cache_size(STATEMENTS)
            .setup(vec![session(connection.write_timeout)]);
        Connections {
            opts: opts.into(),
            connect_timeout: connection.connect_timeout,
            statement_timeout: connection.write_timeout + GRACE,
            limits,
            permits: Arc::new(Semaphore::new(limits.max.clamp(1, Semaphore::MAX_PERMITS))),
            resting: RefCell::default(),
            counts,
        }
    }

    /// The right to use one connection; none where nobody wants to know any more.
    async fn permit(&self, asked: &dyn Asked) -> Option<OwnedSemaphorePermit> {
        loop {
            tokio::select! {
                permit = Arc::clone(&self.permits).acquire_owned() => {
                    return permit.ok().filter(|_| !asked.is_abandoned());
                }
                () = asked.sender().closed() => {
                    if asked.is_abandoned() {
                        return None;
                    }
                }
            }
        }
    }

    /// Asks again where the server undid all that the statement did, to let another one through.
    /// Of a procedure it undoes one statement, or one transaction, and the others stay.
    async fn ask(&self, job: &Job) -> Result<Answer, QueryError> {
        let attempts = if job.statement.calls() { 1 } else { ATTEMPTS };
        for _ in 1..attempts {
            let result = self.ask_once(job).await;
            if !matches!(&result, Err(error) if error.is_deadlock()) {
                return result;
            }
        }
        self.ask_once(job).await
    }

    async fn ask_once(&self, job: &Job) -> Result<Answer, QueryError> {
        let (conn, is_fresh) = self.lease().await?;
        let result = self.run(conn, job).await;
        match result {
            // It had rested, so it may have been dead before it was asked.
            Err(error) if error.is_broken() && !is_fresh && job.statement.reads() => {
                let conn = self.connect().await?;
                self.run(conn, job).await
            }
            result => result,
        }
    }

    /// A connection, and whether it is a new one.
    async fn lease(&self) -> Result<(Conn, bool), QueryError> {
        while let Some(Resting { mut conn, since }) = self.wake() {
            if since.elapsed() < FRESH {
                return Ok((conn, false));
            }
            let ping = tokio::time::timeout(self.connect_timeout, conn.ping()).await;
            if matches!(ping, Ok(Ok(()))) {
                return Ok((conn, false));
            }
            self.end(conn).await;
        }
        Ok((self.connect().await?, true))
    }

    fn wake(&self) -> Option<Resting> {
        self.resting.borrow_mut().pop()
    }

    async fn connect(&self) -> Result<Conn, QueryError> {
        let work = Conn::new(self.opts.clone());
        let conn = tokio::time::timeout(self.connect_timeout, work).await;
        let conn = conn.map_err(|_| QueryError::NoConnection(self.connect_timeout))?;
        let conn = conn.map_err(|error| QueryError::of_connection(&error))?;
        self.counts.connected();
        Ok(conn)
    }

    async fn end(&self, conn: Conn) {
        self.counts.disconnected();
        end(conn).await;
    }

    async fn run(&self, mut conn: Conn, job: &Job) -> Result<Answer, QueryError> {
        let work = tokio::time::timeout(self.statement_timeout, execute(&mut conn, job)).await;
        let result = work.unwrap_or(Err(QueryError::Timeout(self.statement_timeout)));
        let is_sound = match &result {
            // It may be half-way through an answer.
            Err(error) if error.is_fatal() => false,
            // The server does not say whether the procedure had begun a transaction.
            Err(_) => !job.statement.calls(),
            Ok(_) => !is_in_transaction(&conn),
        };
        if is_sound {
            self.resting.borrow_mut().push(Resting { conn, since: Instant::now() });
        } else {
            self.end(conn).await;
        }
        result
    }

    /// Closes connections that have rested too long.
    async fn sweep(&self) {
        let tired: Vec<Resting> = {
            let mut resting = self.resting.borrow_mut();
            let is_tired = |resting: &&Resting| resting.since.elapsed() > self.limits.idle_timeout;
            let surplus = resting.len().saturating_sub(self.limits.min);
            let count = resting.iter().take(surplus).take_while(is_tired).count();
            resting.drain(..count).collect()
        };
        for Resting { conn, .. } in tired {
            self.end(conn).await;
        }
    }

    async fn close(&self) {
        while let Some(Resting { conn, .. }) = self.wake() {
            self.end(conn).await;
        }
    }
}

async fn execute(conn: &mut Conn, job: &Job) -> Result<Answer, QueryError> {
    let values: Vec<Value> = job.parameters.iter().cloned().map(Value::Bytes).collect();
    let parameters = if values.is_empty() { Params::Empty } else { Params::Positional(values) };
    let result = conn.exec_iter(&**job.statement.sql(), parameters).await?;
    Answer::read(result).await
}

/// Whether a procedure has left a transaction open, which the next statement would be a part of.
fn is_in_transaction(conn: &Conn) -> bool {
    let status = conn.last_ok_packet().map(OkPacket::status_flags);
    status.is_some_and(|status| status.contains(StatusFlags::SERVER_STATUS_IN_TRANS))
}

/// Ends a connection politely, as far as that takes no time. One that is in the middle of something
/// is cut off.
async fn end(conn: Conn) {
    // Whether it ends well or not, it ends.
    let _ended = tokio::time::timeout(FAREWELL, conn.disconnect()).await;
}

// Values are UTF-8 to the server where it reads them as text. Whatever else sql_mode says, a value
// that a column can't hold is refused, never cut or changed. A statement that takes too long ends
// on the server as well, with either brand's own variable.
pub(crate) fn session(statement_timeout: Duration) -> String {
    let seconds = statement_timeout.as_secs().max(1);
    let milliseconds = statement_timeout.as_millis().max(1);
    format!(
        "SET NAMES utf8mb4, autocommit = 1, wait_timeout = 2147483, innodb_lock_wait_timeout = \
         {seconds}, sql_mode = concat_ws(',', nullif(@@sql_mode, ''), 'STRICT_ALL_TABLES') \
         /*M!100100 , max_statement_time = {} */ /*!50708 , max_execution_time = {milliseconds} */",
        statement_timeout.as_secs_f64()
    )
}
