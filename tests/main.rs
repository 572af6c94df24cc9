//! The real binary from outside: its sockets, its signals, its records, and a real Postfix in
//! front of it.

#[cfg(test)]
mod almost_postfix;
#[cfg(test)]
mod architecture;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod connect;
#[cfg(test)]
mod console;
#[cfg(test)]
mod control;
#[cfg(test)]
mod day;
#[cfg(test)]
mod delegate;
#[cfg(test)]
mod directory;
#[cfg(test)]
mod dns_faults;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod explain;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod faulty;
#[cfg(test)]
mod following;
#[cfg(test)]
mod full_disk;
#[cfg(test)]
mod grants;
#[cfg(test)]
mod groups;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod import;
#[cfg(test)]
mod injection;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod listeners;
#[cfg(test)]
mod lists;
#[cfg(test)]
mod main_cf;
#[cfg(test)]
mod manual;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod modules;
#[cfg(test)]
mod monitoring;
#[cfg(test)]
mod mysql;
#[cfg(test)]
mod names;
#[cfg(test)]
mod order;
#[cfg(test)]
#[cfg(feature = "otel")]
mod otel;
#[cfg(test)]
mod output;
#[cfg(test)]
mod package;
#[cfg(test)]
mod packaging;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod passed_on;
#[cfg(test)]
mod postfix;
#[cfg(test)]
mod rbl;
#[cfg(test)]
mod recipient;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod replay_places;
#[cfg(test)]
mod rights;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod seeds;
#[cfg(test)]
mod shown;
#[cfg(test)]
mod spf;
#[cfg(test)]
mod state;
#[cfg(test)]
mod stop;
#[cfg(test)]
mod supervision;
#[cfg(test)]
mod syslog;
#[cfg(test)]
mod takeover;
#[cfg(test)]
mod threshold;
#[cfg(test)]
mod tracking;
#[cfg(test)]
mod transcripts;
#[cfg(test)]
mod web;
#[cfg(test)]
mod wire;
