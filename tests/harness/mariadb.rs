//! A MariaDB of the test's own: data directory, port and socket that nobody else uses. It is
//! killed and removed when it is dropped, also by a panic. Where `MPPD_MYSQLD` names the program of
//! another MariaDB or of a MySQL, it is that one.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use mppd_database::ResolvedConnection;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts, OptsBuilder};
use tempfile::TempDir;

use super::ports::free_port;
use super::small_disk::SmallDisk;

const USER: &str = "mppd";
const PASSWORD: &str = "secret";
const DATABASE: &str = "mppd";

/// Room for all tables that are in one tablespace; the first file is there already.
const SMALL: &str = "--innodb-data-file-path=ibdata1:12M;ibdata2:8M";

/// A running (or stopped) private server.
pub(crate) struct MariaDb {
    /// What it has little room on, if anything.
    disk: Option<SmallDisk>,
    directory: TempDir,
    port: u16,
    options: Vec<String>,
    process: Option<Child>,
}

impl MariaDb {
    /// Starts a server with the database `mppd` and the user `mppd`, who may do anything with it.
    pub(crate) async fn start() -> Self {
        Self::start_with(Vec::new()).await
    }

    /// Starts one that takes encrypted connections only.
    pub(crate) async fn start_with_tls() -> Self {
        Self::start_with(encrypted_only()).await
    }

    /// Starts one whose tables have little room, all of them together, and which is full then.
    pub(crate) async fn start_small() -> Self {
        let options = [SMALL, "--innodb-file-per-table=0"];
        Self::start_with(options.map(str::to_owned).into()).await
    }

    /// Starts such a one again with more room.
    pub(crate) async fn restart_larger(&mut self) {
        self.stop().await;
        self.options[0] = format!("{SMALL};ibdata3:8M:autoextend");
        self.restart().await;
    }

    /// Starts one whose tables are on a small disk.
    pub(crate) async fn start_with_tables_on_small_disk(size: &str) -> Self {
        let mut server = Self::start().await;
        let tables = server.directory.path().join("data").join(DATABASE);
        server.disk = Some(SmallDisk::mount(&tables, size));
        server
    }

    /// Starts one whose binary log is on a small disk.
    pub(crate) async fn start_with_log_on_small_disk(size: &str) -> Self {
        Self::start_with_log(size, Vec::new()).await
    }

    /// Starts such a one that takes encrypted connections only.
    pub(crate) async fn start_with_tls_and_log_on_small_disk(size: &str) -> Self {
        Self::start_with_log(size, encrypted_only()).await
    }

    async fn start_with_log(size: &str, mut options: Vec<String>) -> Self {
        let directory = TempDir::new().unwrap();
        let logs = directory.path().join("logs");
        std::fs::create_dir(&logs).unwrap();
        let disk = SmallDisk::mount(&logs, size);
        options.push(format!("--log-bin={}", logs.join("log").display()));
        options.push("--server-id=1".to_owned());
        Self::start_in(directory, options, Some(disk)).await
    }

    /// The disk on which it has little room.
    pub(crate) fn disk(&self) -> &SmallDisk {
        self.disk.as_ref().expect("it has a small disk")
    }

    async fn start_with(options: Vec<String>) -> Self {
        Self::start_in(TempDir::new().unwrap(), options, None).await
    }

    async fn start_in(directory: TempDir, options: Vec<String>, disk: Option<SmallDisk>) -> Self {
        run(Command::new("cp").arg("-a").arg(template()).arg(directory.path().join("data")));
        let mut server = MariaDb { disk, directory, port: free_port(), options, process: None };
        server.spawn();
        server.wait_until_ready().await;
        server
            .execute(&format!(
                "CREATE DATABASE {DATABASE}; CREATE USER {USER}@'%' IDENTIFIED BY '{PASSWORD}'; \
                 GRANT ALL ON {DATABASE}.* TO {USER}@'%'"
            ))
            .await;
        server
    }

    /// How mppd connects to it.
    pub(crate) fn connection(&self) -> ResolvedConnection {
        Self::connection_to(self.port)
    }

    /// How mppd connects to one that another process started.
    pub(crate) fn connection_to(port: u16) -> ResolvedConnection {
        ResolvedConnection {
            host: Some("127.0.0.1".to_owned()),
            port,
            database: DATABASE.to_owned(),
            unix_socket: None,
            user: USER.to_owned(),
            password: Some(PASSWORD.to_owned().into()),
            tls: None,
            connect_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(5),
        }
    }

    /// The same over its socket file.
    pub(crate) fn connection_by_socket(&self) -> ResolvedConnection {
        let unix_socket = Some(self.socket());
        ResolvedConnection { host: None, unix_socket, ..self.connection() }
    }

    /// The same as a configuration says it.
    pub(crate) fn element(&self) -> String {
        self.element_named("PPXX0001_track_policy_connection")
    }

    /// The same in an element of another name.
    pub(crate) fn element_named(&self, name: &str) -> String {
        format!(
            "<{name}>
               <host>127.0.0.1</host><port>{}</port><database>{DATABASE}</database>
               <user>{USER}</user><password>{PASSWORD}</password>
             </{name}>",
            self.port
        )
    }

    /// Where it listens on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Process ID of the server.
    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().expect("the server runs").id()
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    fn spawn(&mut self) {
        let log = std::fs::File::create(self.directory.path().join("log")).unwrap();
        let program = Program::get();
        let mut command = Command::new(&program.path);
        command
            .arg("--no-defaults")
            .arg(format!("--datadir={}", self.directory.path().join("data").display()))
            .arg(format!("--socket={}", self.socket().display()))
            .arg(format!("--pid-file={}", self.directory.path().join("pid").display()))
            .arg(format!("--port={}", self.port))
            // A server that starts clears away what others have in the same directory.
            .arg(format!("--tmpdir={}", self.directory.path().display()))
            .args(["--bind-address=127.0.0.1", "--skip-name-resolve", "--plugin-dir=/nonexistent"])
            .args(program.options())
            .args(&self.options)
            .args(as_user())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null());
        self.process = Some(command.spawn().unwrap());
    }

    async fn wait_until_ready(&mut self) {
        let begin = Instant::now();
        while self.root(None).await.is_err() {
            let process = self.process.as_mut().unwrap();
            let is_dead = process.try_wait().unwrap().is_some();
            assert!(!is_dead && begin.elapsed() < Duration::from_mins(1), "{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn log(&self) -> String {
        let mut text = String::from("the database did not start:\n");
        let log = std::fs::File::open(self.directory.path().join("log"));
        log.and_then(|mut log| log.read_to_string(&mut text)).unwrap();
        text
    }

    async fn root(&self, database: Option<&str>) -> mysql_async::Result<Conn> {
        Conn::new(self.root_options(database)).await
    }

    fn root_options(&self, database: Option<&str>) -> Opts {
        let options = OptsBuilder::default().socket(self.socket().to_str()).user(Some("root"));
        options.db_name(database).into()
    }

    /// Holds a lock on a table for so long, on a thread of its own.
    pub(crate) fn locked(&self, table: &str, time: Duration) -> std::thread::JoinHandle<()> {
        let (options, seconds) = (self.root_options(None), time.as_secs_f64());
        let sql = format!("LOCK TABLES {table} WRITE; DO SLEEP({seconds})");
        std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().unwrap().block_on(async {
                let mut conn = Conn::new(options).await.unwrap();
                conn.query_drop(sql).await.unwrap();
                conn.disconnect().await.unwrap();
            });
        })
    }

    /// Runs a statement as root that need not succeed; whether it did.
    pub(crate) async fn try_to(&self, sql: &str) -> bool {
        let mut conn = self.root(None).await.unwrap();
        let done = conn.query_drop(sql).await;
        conn.disconnect().await.unwrap();
        done.is_ok()
    }

    /// Runs statements as root in the database `mppd`, once it exists.
    pub(crate) async fn execute(&self, sql: &str) {
        let mut conn = self.root(None).await.unwrap();
        let has_database: Option<String> =
            conn.query_first(format!("SHOW DATABASES LIKE '{DATABASE}'")).await.unwrap();
        if has_database.is_some() {
            conn.query_drop(format!("USE {DATABASE}")).await.unwrap();
        }
        conn.query_drop(sql).await.unwrap();
        conn.disconnect().await.unwrap();
    }

    /// Ends all connections of the user of [`MariaDb::connection`].
    pub(crate) async fn hang_up(&self) {
        // Where MySQL shows the statements as well, it fails at those whose parameters are no text.
        let sql = if MariaDb::is_mariadb() {
            "SELECT id FROM information_schema.processlist WHERE user = 'mppd'"
        } else {
            "SELECT processlist_id FROM performance_schema.threads WHERE processlist_user = 'mppd'"
        };
        for id in self.ask::<u64>(sql).await {
            // It may have ended by itself meanwhile.
            self.try_to(&format!("KILL {id}")).await;
        }
    }

    /// Whether the server is a MariaDB, and not a MySQL.
    pub(crate) fn is_mariadb() -> bool {
        Program::get().is_mariadb()
    }

    /// The first column of what a question of root gives.
    pub(crate) async fn ask<T: mysql_async::prelude::FromRow + Send + 'static>(
        &self,
        sql: &str,
    ) -> Vec<T> {
        let mut conn = self.root(Some(DATABASE)).await.unwrap();
        let rows = conn.query(sql).await.unwrap();
        conn.disconnect().await.unwrap();
        rows
    }

    /// Ends the server politely.
    pub(crate) async fn stop(&mut self) {
        let mut process = self.process.take().expect("the server runs");
        let pid = nix::unistd::Pid::from_raw(i32::try_from(process.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        while process.try_wait().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Kills the server with SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Starts it again on the same data and the same port.
    pub(crate) async fn restart(&mut self) {
        self.spawn();
        self.wait_until_ready().await;
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A file of the authority and the server certificate that the tests use: for 127.0.0.1, good for a
/// hundred years, of an authority whose key nobody has any more.
pub(crate) fn tls_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/harness/tls").join(name)
}

fn encrypted_only() -> Vec<String> {
    let file = |option: &str, name: &str| format!("--{option}={}", tls_file(name).display());
    vec![
        file("ssl-ca", "ca.pem"),
        file("ssl-cert", "server.pem"),
        file("ssl-key", "server-key.pem"),
        "--require-secure-transport=1".to_owned(),
    ]
}

/// The program of the servers, and what it is.
struct Program {
    path: PathBuf,
    version: String,
}

impl Program {
    fn get() -> &'static Program {
        static PROGRAM: OnceLock<Program> = OnceLock::new();
        PROGRAM.get_or_init(|| {
            let chosen = std::env::var_os("MPPD_MYSQLD").filter(|path| !path.is_empty());
            let path = chosen.map_or_else(|| find("mariadbd"), PathBuf::from);
            let told = Command::new(&path).arg("--version").output();
            let told = told.unwrap_or_else(|error| panic!("{}: {error}", path.display())).stdout;
            let told = String::from_utf8(told).unwrap();
            let mut words = told.split_whitespace().skip_while(|word| *word != "Ver").skip(1);
            let version = words.next().unwrap_or_else(|| panic!("{}: {told}", path.display()));
            Program { version: version.to_owned(), path }
        })
    }

    fn is_mariadb(&self) -> bool {
        self.version.contains("MariaDB")
    }

    // What MySQL does by itself and a test does not want: a second port, files of 100 MB, a log
    // of changes that wants functions to be declared safe, and a directory that only a package makes.
    fn options(&self) -> &'static [&'static str] {
        if self.is_mariadb() {
            return &[];
        }
        &[
            "--mysqlx=OFF",
            "--skip-log-bin",
            "--secure-file-priv=NULL",
            "--innodb-redo-log-capacity=8M",
            "--innodb-buffer-pool-size=64M",
        ]
    }

    fn install(&self, data: &Path) {
        let data = format!("--datadir={}", data.display());
        let mut command = if self.is_mariadb() {
            let beside = self.path.with_file_name("mariadb-install-db");
            let installer = if beside.exists() { beside } else { find("mariadb-install-db") };
            let mut command = Command::new(installer);
            let options = ["--auth-root-authentication-method=normal", "--skip-test-db"];
            command.arg("--no-defaults").arg(data).args(options);
            command
        } else {
            let mut command = Command::new(&self.path);
            command.arg("--no-defaults").arg(data).arg("--initialize-insecure");
            command.args(self.options());
            command
        };
        run(command.args(as_user()).stdin(Stdio::null()));
    }
}

// A data directory as it is before anybody used it; made once, since making it takes seconds.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let program = Program::get();
        let family = if program.is_mariadb() { "mariadb" } else { "mysql" };
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let template = target.join(format!("{family}-{}", program.version));
        if !template.exists() {
            std::fs::create_dir_all(target).unwrap();
            let fresh = tempfile::tempdir_in(target).unwrap();
            program.install(&fresh.path().join("data"));
            // Whoever is first wins; the other's is as good.
            if std::fs::rename(fresh.path().join("data"), &template).is_err() {
                assert!(template.exists(), "{} cannot be made", template.display());
            }
        }
        template
    })
}

// They refuse to run as root unless it is told to.
fn as_user() -> Option<&'static str> {
    nix::unistd::Uid::effective().is_root().then_some("--user=root")
}

fn find(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = directories.map(|directory| directory.join(program)).find(|path| path.exists());
    found.unwrap_or_else(|| {
        panic!("{program} is not installed; on Debian: apt-get install mariadb-server")
    })
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}
