//! What the tests start besides mppd itself.

pub mod mariadb;
