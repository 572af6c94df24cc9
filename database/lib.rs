//! Connections to MySQL and MariaDB as the configuration describes them, and statements over them.
