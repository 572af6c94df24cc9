//! Commands of the guides that change a machine, each as the page says it, on a Debian with a
//! systemd; what comes of it is looked at afterwards.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use mppd_dns::testkit::{Server, Zones};

use super::booted::{Booted, ask};
use super::tree::{Said, given};
use super::{FIRST, REFUSED, SECOND};
use crate::harness::eventually;
use crate::harness::http::{get, post};
use crate::harness::smtp::SmtpClient;
use crate::harness::terminal::{CTRL_C, Terminal};
use crate::pages::{Act, Block, every_block};

type Run = fn(&Booted, &Block);

const PAGE: &str = "docs/first-steps.md";

/// In the order in which an administrator does it.
const WITH_THE_PACKAGE: [Act<Run>; 6] = [
    Act { page: PAGE, begins: "apt install", run: the_package_is_installed },
    Act { page: PAGE, begins: "mppd postfix --apply", run: postfix_is_told_to_ask },
    Act { page: "docs/operations.md", begins: "setpriv", run: the_user_of_the_server_tries },
    Act { page: "docs/console.md", begins: "install -d", run: somebody_may_log_in },
    Act { page: "docs/console.md", begins: "ssh", run: the_console_is_reached_from_elsewhere },
    Act { page: "docs/upgrading.md", begins: "apt install", run: the_package_is_upgraded },
];

const WITHOUT_THE_PACKAGE: [Act<Run>; 1] =
    [Act { page: "docs/administrators.md", begins: "useradd", run: systemd_takes_the_units }];

/// How many acts run a block.
pub(crate) fn runs(block: &Block) -> usize {
    let of_a_machine = WITH_THE_PACKAGE.iter().chain(&WITHOUT_THE_PACKAGE);
    of_a_machine.filter(|act| act.is_of(block)).count() + super::container::runs(block)
}

#[test]
#[ignore = "needs packages: ./test package"]
fn who_does_what_the_guides_say_has_an_mppd_that_postfix_asks_and_people_look_at() {
    let booted = Booted::bare();
    for (package, name) in [(FIRST, "mppd_0.1.0-1_amd64.deb"), (SECOND, "mppd_0.1.0-2_amd64.deb")] {
        fs::copy(given(package), booted.tree.path("/root").join(name)).unwrap();
    }
    for act in WITH_THE_PACKAGE {
        (act.run)(&booted, &act.block());
    }
}

#[test]
#[ignore = "needs packages: ./test package"]
fn who_has_no_package_gets_along_with_the_units() {
    let booted = Booted::bare();
    // What the page tells before: the program, its configuration and its user are there.
    fs::copy(given(FIRST), booted.tree.path("/root/mppd.deb")).unwrap();
    booted.succeed("dpkg-deb", &["--extract", "/root/mppd.deb", "/root/of-the-package"]);
    booted.succeed("cp", &["/root/of-the-package/usr/bin/mppd", "/usr/bin/mppd"]);
    booted.succeed("cp", &["-r", "/root/of-the-package/etc/mppd", "/etc/mppd"]);
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging");
    let copied =
        Command::new("cp").arg("-r").arg(packaging).arg(booted.tree.path("/root")).status();
    assert!(copied.unwrap().success());
    for act in WITHOUT_THE_PACKAGE {
        (act.run)(&booted, &act.block());
    }
}

/// The command that has a shell do this in the home of root.
fn shell(booted: &Booted, start: Command, script: &str) -> Command {
    let mut command = booted.entering(start);
    command.args(["sh", "-e", "-c"]).arg(format!("cd /root\n{script}"));
    command
}

/// Does what a block says, without anybody to ask.
fn obey(booted: &Booted, block: &Block) -> String {
    let said = Said::of(&mut shell(booted, Command::new("nsenter"), &block.text));
    assert!(said.success, "{}: {}", block.place(), said.text);
    said.text
}

/// Does what a block says, with somebody in front of it.
fn at_terminal(booted: &Booted, block: &Block) -> Terminal {
    Terminal::start(shell(booted, Terminal::command("nsenter"), &block.text))
}

fn assert_answers(booted: &Booted) {
    assert_eq!(booted.property("ActiveState"), "active");
    assert_eq!(ask(), REFUSED);
}

fn the_package_is_installed(booted: &Booted, block: &Block) {
    obey(booted, block);
    assert_answers(booted);
    // What the page goes on with, as a newcomer would.
    let plain = |other: &Block| other.page == block.page && other.is(&["sh"]);
    for next in every_block().iter().filter(|other| plain(other)) {
        obey(booted, next);
    }
}

fn postfix_is_told_to_ask(booted: &Booted, block: &Block) {
    // Otherwise who asks from the same machine passes before anybody is asked.
    let strangers = ["mynetworks = 198.51.100.0/24", "smtpd_authorized_xclient_hosts = 127.0.0.1"];
    booted.succeed("postconf", &["-e", strangers[0], strangers[1]]);
    let mut terminal = at_terminal(booted, block);
    terminal.wait_for("Change main.cf like this? [y/N] ");
    terminal.type_in("y\n");
    terminal.wait_for("main.cf is changed");
    assert_eq!(terminal.end(), Some(0), "{}", terminal.screen());
    let answer = eventually(|| {
        let mut smtp = SmtpClient::connect(25);
        smtp.come_from("ADDR=203.0.113.9 NAME=mail.example.net");
        assert_eq!(smtp.mail("blocked@invalid.example").code, 250);
        let answer = smtp.command("RCPT TO:<root@localhost>");
        // A server process of before the reload may still take a connection.
        (answer.code == 554).then(|| answer.text())
    });
    let answer = answer.expect("Postfix asks");
    assert!(answer.contains("black list of this site"), "{answer}");
}

fn the_user_of_the_server_tries(booted: &Booted, block: &Block) {
    // In the network of the tests there is no name server unless one is brought along.
    let names = Server::start(Zones::read("example.com TXT v=spf1 -all"));
    let file = booted.tree.path("/etc/mppd/mppd.conf.xml");
    let text = fs::read_to_string(&file).unwrap();
    let dns = format!("<common><dns><server>{}</server></dns>", names.address());
    fs::write(&file, text.replacen("<common>", &dns, 1)).unwrap();
    let said = obey(booted, block);
    assert!(said.contains(&names.address().to_string()), "{said}");
    fs::write(&file, text).unwrap();
    let status = booted.succeed("sh", &["-c", "stat -c %U /proc/$(pidof mppd)"]);
    assert_eq!(status.trim(), "mppd", "the page names another user than that of the server");
}

const PASSWORD: &str = "correct horse battery";

fn console() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 10041))
}

fn somebody_may_log_in(booted: &Booted, block: &Block) {
    let mut terminal = at_terminal(booted, block);
    for (name, question) in [("Password: ", PASSWORD), ("Once more: ", PASSWORD)] {
        terminal.wait_for(name);
        terminal.type_in(&format!("{question}\n"));
    }
    assert_eq!(terminal.end(), Some(0), "{}", terminal.screen());
    assert!(!terminal.screen().contains("battery"), "the password is shown");
    let hash = booted.tree.path("/etc/mppd/secrets/postmaster");
    let mode = fs::metadata(&hash).unwrap().permissions().mode();
    assert_eq!(mode & 0o007, 0, "everybody may read the hash");

    let admin = every_block().into_iter().find(|other| {
        other.page == block.page && other.text.contains("<account name=\"postmaster\"")
    });
    let admin = admin.expect("the page shows the account").text;
    let file = booted.tree.path("/etc/mppd/mppd.conf.xml");
    let text = fs::read_to_string(&file).unwrap();
    let (before, rest) = text.split_once("<admin>").expect("the configuration has <admin>");
    let (_, after) = rest.split_once("</admin>").unwrap();
    fs::write(&file, format!("{before}{}{after}", admin.trim())).unwrap();
    booted.succeed("mppd", &["check", "--deny-warnings"]);
    booted.succeed("mppd", &["reload"]);

    let form = get(console(), "/login", &[]);
    let cookie = form.header("set-cookie").and_then(|cookie| cookie.split(';').next()).unwrap();
    let csrf = form.body.split_once("name=\"csrf\" value=\"").unwrap().1.split('"').next().unwrap();
    let body = format!("csrf={csrf}&name=postmaster&password={}", PASSWORD.replace(' ', "+"));
    let origin = format!("http://{}", console());
    let headers = [("Cookie", cookie), ("Origin", origin.as_str())];
    let response = post(console(), "/login", &headers, &body);
    assert_eq!(response.status, 303, "{}", response.body);
}

/// The other machine is a network of its own; what would lead from the one to the other starts the
/// server of SSH here.
const SSH: &str = "Host mail.example.com
ProxyCommand nsenter --net=/proc/1/ns/net /usr/sbin/sshd -i
StrictHostKeyChecking accept-new
";

fn the_console_is_reached_from_elsewhere(booted: &Booted, block: &Block) {
    let make_keys = "mkdir -p -m 700 .ssh /run/sshd && ssh-keygen -A && \
         ssh-keygen -q -N '' -t ed25519 -f .ssh/id_ed25519 && \
         cp .ssh/id_ed25519.pub .ssh/authorized_keys";
    let said = Said::of(&mut shell(booted, Command::new("nsenter"), make_keys));
    assert!(said.success, "{}", said.text);
    fs::write(booted.tree.path("/root/.ssh/config"), SSH).unwrap();
    let mut elsewhere = Terminal::command("unshare");
    elsewhere.args(["--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh", "nsenter"]);
    elsewhere.args(["--mount", "--uts", "--ipc", "--pid"]);
    elsewhere.arg(format!("--target={}", booted.leader));
    elsewhere.args(["sh", "-c", &format!("export HOME=/root; cd /root; {}", block.text)]);
    let mut terminal = Terminal::start(elsewhere);
    let network = format!("--net=/proc/{}/ns/net", terminal.pid());
    let ask = "exec 3<>/dev/tcp/127.0.0.1/10041 && \
         printf 'GET /login HTTP/1.0\\r\\nHost: localhost:10041\\r\\n\\r\\n' >&3 && cat <&3";
    let shown = eventually(|| {
        let said = Said::of(Command::new("nsenter").arg(&network).args(["bash", "-c", ask]));
        said.text.contains("name=\"password\"").then_some(())
    });
    assert!(shown.is_some(), "the console is not there: {}", terminal.screen());
    terminal.type_in(CTRL_C);
    terminal.type_in("exit\n");
    terminal.end();
}

fn the_package_is_upgraded(booted: &Booted, block: &Block) {
    let before = booted.property("MainPID");
    obey(booted, block);
    let version = booted.succeed("dpkg-query", &["--show", "--showformat=${Version}", "mppd"]);
    assert_eq!(version, "0.1.0-2");
    assert_ne!(booted.property("MainPID"), before, "the old program still answers");
    assert_answers(booted);
}

fn systemd_takes_the_units(booted: &Booted, block: &Block) {
    obey(booted, block);
    assert_answers(booted);
    for unit in ["mppd.socket", "mppd.service"] {
        assert_eq!(booted.succeed("systemctl", &["is-enabled", unit]).trim(), "enabled");
    }
}
