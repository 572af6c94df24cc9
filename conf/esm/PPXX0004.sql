-- PPXX0004.sql: how many recipients a user can write to in a day (UTC), and how many there were.
--
--   mysql mppd < PPXX0004.sql

SET NAMES utf8mb4;

CREATE TABLE IF NOT EXISTS PPXX0004_limit (
  sasl_username VARBINARY(255) NOT NULL PRIMARY KEY COMMENT 'In lower case; `*` for everybody else',
  recipients INT UNSIGNED NOT NULL COMMENT 'Recipients in a day'
) ENGINE = InnoDB;

INSERT IGNORE INTO PPXX0004_limit VALUES ('*', 500);

-- Rows of past days can be removed at any time:
--   DELETE FROM PPXX0004_sent WHERE day < UTC_DATE();
CREATE TABLE IF NOT EXISTS PPXX0004_sent (
  day DATE NOT NULL COMMENT 'UTC',
  sasl_username VARBINARY(255) NOT NULL COMMENT 'In lower case',
  recipients INT UNSIGNED NOT NULL COMMENT 'Those that were refused count as well',
  PRIMARY KEY (day, sasl_username)
) ENGINE = InnoDB;
