//! A model of a request's way into the records, checked against the real queue, batch, spool and
//! writer. Only the database is a model: it can be away, hang, lose its answer after it has
//! written, or refuse a row; and the server can die at any step.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mppd_engine::tracking::TrackingError;
use mppd_engine::{Decision, Exchange, Request, RequestKey, Transition};
use proptest::prelude::*;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::batch::State;
use super::bounds::Bounds;
use super::database::{Connect, Connecting, Database, Denial};
use super::queue::{Content, Entry, Queue};
use super::row::Row;
use super::snapshot::tests::{exchange, row};
use super::spool::Spool;
use super::sqlite::SqliteStore;
use super::status::{Place, TrackerStatus};
use super::store::{
    Condition, Ending, Query, Removed, RowWrite, Store, StoreError, Undecided, Working,
};
use super::target::Target;
use super::writer::{Manner, Writer};
use crate::config::settings::AtBound;

/// How long the database takes to get a statement, and its answer to get back.
const HOP: Duration = Duration::from_millis(1);

/// What is between two steps: less than a write takes, so that a step can fall into one.
const BEAT: Duration = Duration::from_micros(1_500);

/// How a database is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Up,
    Away,
    /// It writes, and its answer is lost.
    Mute,
    /// It answers nothing and writes nothing.
    Hangs,
}

/// The database.
struct World {
    mode: Cell<Mode>,
    rows: RefCell<BTreeMap<RequestKey, State>>,
    /// The keys in the order in which their rows came.
    came: RefCell<Vec<RequestKey>>,
}

impl World {
    fn apply(&self, writes: &[RowWrite]) -> Result<(), StoreError> {
        let mut rows = self.rows.borrow_mut();
        if writes.iter().any(|write| is_poisoned(&write.content)) {
            return Err(StoreError::Refused("poison".to_owned()));
        }
        if writes.iter().any(|write| write.fresh && rows.contains_key(&write.key)) {
            return Err(StoreError::Duplicate);
        }
        for write in writes {
            assert_eq!(write.content.is_processed(), write.state == State::Processed);
            let known = rows.get(&write.key).copied();
            if known.is_none() {
                self.came.borrow_mut().push(write.key);
            }
            rows.insert(write.key, known.map_or(write.state, |known| known.max(write.state)));
        }
        Ok(())
    }
}

fn is_poisoned(row: &Row) -> bool {
    row.get("helo_name") == super::row::Cell::Text("poison")
}

fn away() -> StoreError {
    StoreError::Away("away".into())
}

struct Fake(Rc<World>);

impl Connect for Rc<World> {
    fn connect(&self) -> Connecting {
        let world = Rc::clone(self);
        Box::pin(async move {
            tokio::time::sleep(HOP).await;
            match world.mode.get() {
                Mode::Up | Mode::Mute => Ok(Box::new(Fake(world)) as Box<dyn Store>),
                Mode::Away | Mode::Hangs => Err(away()),
            }
        })
    }
}

fn never<'a, T: 'a>() -> Working<'a, T> {
    Box::pin(std::future::ready(Err(away())))
}

impl Store for Fake {
    fn prepare(&mut self) -> Working<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn write<'a>(&'a mut self, writes: &'a [RowWrite]) -> Working<'a, ()> {
        Box::pin(async move {
            tokio::time::sleep(HOP).await;
            match self.0.mode.get() {
                Mode::Away => return Err(away()),
                Mode::Hangs => {
                    let timeout = Duration::from_secs(5);
                    tokio::time::sleep(timeout).await;
                    return Err(StoreError::Timeout(timeout));
                }
                Mode::Up | Mode::Mute => self.0.apply(writes)?,
            }
            tokio::time::sleep(HOP).await;
            if self.0.mode.get() == Mode::Up { Ok(()) } else { Err(away()) }
        })
    }

    fn search<'a>(&'a mut self, _: &'a Query) -> Working<'a, Vec<Row>> {
        never()
    }

    fn find(&mut self, _: RequestKey) -> Working<'_, Option<Row>> {
        never()
    }

    fn oldest(&mut self, _: Option<RequestKey>, _: usize) -> Working<'_, Vec<Row>> {
        never()
    }

    fn remove<'a>(&'a mut self, _: &'a [RequestKey]) -> Working<'a, ()> {
        never()
    }

    fn count(&mut self) -> Working<'_, u64> {
        never()
    }

    fn undecided<'a>(
        &'a mut self,
        _: &'a str,
        _: Range<RequestKey>,
        _: usize,
    ) -> Working<'a, Undecided> {
        never()
    }

    fn close<'a>(&'a mut self, _: &'a [RequestKey], _: &'a Ending) -> Working<'a, u64> {
        never()
    }

    fn remove_oldest(&mut self, _: Range<RequestKey>, _: usize) -> Working<'_, Removed> {
        never()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// A request comes.
    Receive,
    /// One comes that the database refuses.
    ReceivePoison,
    /// The request that waits longest is decided.
    Decide,
    /// The request that came last is decided.
    DecideLast,
    Become(Mode),
    /// The server dies and starts again.
    Die,
    /// Time passes, more than any pause.
    Rest,
}

type Told = oneshot::Receiver<Result<(), TrackingError>>;

/// The server's side.
struct Run {
    world: Rc<World>,
    directory: TempDir,
    is_strict: bool,
    server: Option<(Arc<Queue>, JoinHandle<()>)>,
    /// What is under way, oldest first.
    open: Vec<Exchange>,
    waiting: Vec<(RequestKey, State, Told)>,
    /// How far each request is durably, as somebody was told.
    acknowledged: BTreeMap<RequestKey, State>,
    asked: Vec<(RequestKey, bool)>,
}

impl Run {
    async fn begin(is_strict: bool) -> Self {
        let memory = PathBuf::from("/dev/shm");
        let directory =
            if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let world =
            World { mode: Cell::new(Mode::Up), rows: RefCell::default(), came: RefCell::default() };
        let mut run = Run {
            world: Rc::new(world),
            directory: directory.unwrap(),
            is_strict,
            server: None,
            open: Vec::new(),
            waiting: Vec::new(),
            acknowledged: BTreeMap::new(),
            asked: Vec::new(),
        };
        run.start().await;
        run
    }

    fn spool(&self) -> PathBuf {
        self.directory.path().join("spool.sqlite")
    }

    async fn start(&mut self) {
        let (logger, queue) = (crate::log::silent(), Arc::new(Queue::new(100, usize::MAX)));
        let bounds = Bounds { max_size: 1 << 30, max_age: None, at_bound: AtBound::Answer };
        let spool = Spool::open(&self.spool(), bounds.clone(), logger.clone()).unwrap();
        let connector = Rc::new(Rc::clone(&self.world));
        let database =
            Database::open(connector, spool, Denial::Absence, logger.clone()).await.unwrap();
        let received_delay = Duration::from_millis(u64::from(!self.is_strict));
        let manner = Manner { node: "node".into(), batch_rows: 512, received_delay, bounds };
        let status = TrackerStatus::new("fake".into(), Place::Connected);
        let target = Target::Database(Box::new(database));
        let status = Arc::new(Mutex::new(status));
        let mut writer = Writer::new(target, manner, Arc::clone(&queue), status, logger);
        let task = tokio::task::spawn_local(async move { writer.run().await });
        self.server = Some((queue, task));
    }

    async fn die(&mut self) {
        if let Some((_, task)) = self.server.take() {
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled(), "the writer panicked");
        }
        self.listen();
        self.waiting.clear();
        self.open.clear();
    }

    fn push(&mut self, state: State, exchange: &Exchange) {
        let transition = match state {
            State::Received => Transition::Received,
            State::Processed => Transition::Processed,
        };
        let key = exchange.key();
        let content = Content::row(Arc::new(row(transition, exchange)));
        let (acknowledgement, told) = oneshot::channel();
        let is_awaited = self.is_strict || state == State::Processed;
        let acknowledgement = is_awaited.then_some(acknowledgement);
        let (queue, _) = self.server.as_ref().unwrap();
        queue.push(Entry { key, state, content, acknowledgement }).unwrap();
        if is_awaited {
            self.waiting.push((key, state, told));
        }
    }

    /// Hears what was acknowledged.
    fn listen(&mut self) {
        let acknowledged = &mut self.acknowledged;
        self.waiting.retain_mut(|(key, state, told)| match told.try_recv() {
            Ok(result) => {
                result.unwrap();
                let known = acknowledged.entry(*key).or_insert(*state);
                *known = (*known).max(*state);
                false
            }
            Err(_) => true,
        });
    }

    fn receive(&mut self, helo: &str) {
        let request = Request::from_attributes([("helo_name", helo)]).unwrap();
        let exchange = exchange(request);
        self.asked.push((exchange.key(), helo == "poison"));
        self.push(State::Received, &exchange);
        self.open.push(exchange);
    }

    fn decide(&mut self, index: usize) {
        let exchange = self.open.remove(index);
        exchange.decide(Decision::dunno());
        self.push(State::Processed, &exchange);
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Receive => self.receive("good"),
            Step::ReceivePoison => self.receive("poison"),
            Step::Decide | Step::DecideLast if self.open.is_empty() => {}
            Step::Decide => self.decide(0),
            Step::DecideLast => self.decide(self.open.len() - 1),
            Step::Become(mode) => self.world.mode.set(mode),
            Step::Die => {
                self.die().await;
                self.start().await;
            }
            Step::Rest => tokio::time::sleep(Duration::from_secs(12)).await,
        }
        tokio::time::sleep(BEAT).await;
        self.listen();
    }

    /// Brings the database back and checks what is on record.
    async fn end(mut self, steps: &[Step]) {
        self.world.mode.set(Mode::Up);
        tokio::time::sleep(Duration::from_mins(1)).await;
        self.listen();
        assert!(self.waiting.is_empty(), "somebody was never told: {steps:?}");
        let (queue, task) = self.server.take().unwrap();
        queue.close();
        tokio::time::timeout(Duration::from_mins(1), task).await.unwrap().unwrap();
        let spooled = rows_of(&self.spool());
        let rows = self.world.rows.borrow();
        for (key, is_poisoned) in &self.asked {
            let place = if *is_poisoned { &spooled } else { &*rows };
            let found = place.get(key);
            if let Some(told) = self.acknowledged.get(key) {
                assert!(found >= Some(told), "lost: told {told:?}, is {found:?}: {steps:?}");
            }
        }
        let open: Vec<RequestKey> = self.open.iter().map(Exchange::key).collect();
        assert!(open.iter().all(|key| rows.contains_key(key) || spooled.contains_key(key)));
        let is_known = |key: &RequestKey| self.asked.iter().any(|(asked, _)| asked == key);
        assert!(rows.keys().all(is_known), "a row of nobody: {steps:?}");
        let left = spooled.keys().filter(|key| !self.asked.contains(&(**key, true)));
        assert_eq!(left.count(), 0, "the spool was not moved: {steps:?}");
    }
}

fn rows_of(path: &std::path::Path) -> BTreeMap<RequestKey, State> {
    let mut store = SqliteStore::open_to_read(path).unwrap();
    let condition = Condition::All(Vec::new());
    let query = Query { condition, limit: 1_000_000, newest_first: false };
    let rows = futures_util::FutureExt::now_or_never(store.search(&query)).unwrap().unwrap();
    let state = |row: &Row| if row.is_processed() { State::Processed } else { State::Received };
    rows.iter().map(|row| (row.key().unwrap(), state(row))).collect()
}

/// Runs it in a time of its own, which passes when everybody waits.
fn in_its_own_time(work: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, work);
}

fn check(is_strict: bool, steps: &[Step]) {
    in_its_own_time(async {
        let mut run = Run::begin(is_strict).await;
        for step in steps {
            run.take(*step).await;
        }
        run.end(steps).await;
    });
}

const ALPHABET: [Step; 8] = [
    Step::Receive,
    Step::Decide,
    Step::Become(Mode::Up),
    Step::Become(Mode::Away),
    Step::Become(Mode::Mute),
    Step::Become(Mode::Hangs),
    Step::Die,
    Step::Rest,
];

/// How many steps are tried in every order. `MPPD_MODEL_DEPTH` asks for more.
fn depth() -> u32 {
    std::env::var("MPPD_MODEL_DEPTH").ok().and_then(|depth| depth.parse().ok()).unwrap_or(3)
}

#[test]
fn nothing_acknowledged_is_lost_whatever_happens_in_so_many_steps() {
    let depth = depth();
    for number in 0..ALPHABET.len().pow(depth) {
        let mut steps = vec![Step::Receive];
        let mut rest = number;
        for _ in 0..depth {
            steps.push(ALPHABET[rest % ALPHABET.len()]);
            rest /= ALPHABET.len();
        }
        check(true, &steps);
        check(false, &steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn nothing_acknowledged_is_lost_in_a_long_life(
        is_strict: bool,
        steps in proptest::collection::vec(prop_oneof![
            4 => Just(Step::Receive),
            1 => Just(Step::ReceivePoison),
            2 => Just(Step::Decide),
            2 => Just(Step::DecideLast),
            2 => Just(Step::Become(Mode::Up)),
            1 => Just(Step::Become(Mode::Away)),
            1 => Just(Step::Become(Mode::Mute)),
            1 => Just(Step::Become(Mode::Hangs)),
            1 => Just(Step::Die),
            1 => Just(Step::Rest),
        ], 0..60),
    ) {
        check(is_strict, &steps);
    }

    #[test]
    fn rows_that_waited_come_in_the_order_of_their_requests(
        decisions in proptest::collection::vec(prop_oneof![
            3 => Just(Step::Receive), 2 => Just(Step::Decide), 2 => Just(Step::DecideLast),
            1 => Just(Step::Die),
        ], 0..60),
    ) {
        in_its_own_time(async {
            let mut run = Run::begin(true).await;
            run.take(Step::Become(Mode::Away)).await;
            // What notices that the database is away is written twice, here and there.
            run.take(Step::Receive).await;
            run.take(Step::Rest).await;
            for step in &decisions {
                run.take(*step).await;
            }
            let world = Rc::clone(&run.world);
            run.end(&decisions).await;
            assert!(world.came.borrow().is_sorted());
        });
    }
}
