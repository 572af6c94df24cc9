-- PPXX0003.sql: spam traps, and the clients that wrote to them.
--
--   mysql mppd < PPXX0003.sql

SET NAMES utf8mb4;

CREATE TABLE IF NOT EXISTS PPXX0003_trap (
  recipient VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL PRIMARY KEY
    COMMENT 'An address that nobody has, in lower case',
  CONSTRAINT PPXX0003_trap_is_lower_case CHECK (recipient = LOWER(recipient))
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS PPXX0003_client (
  client_address VARBINARY(64) NOT NULL PRIMARY KEY COMMENT 'As Postfix writes it',
  hits INT UNSIGNED NOT NULL COMMENT 'How often it wrote to a trap',
  first_hit DATETIME NOT NULL COMMENT 'UTC',
  last_hit DATETIME NOT NULL COMMENT 'UTC',
  listed_until DATETIME NOT NULL COMMENT 'UTC',
  KEY (listed_until)
) ENGINE = InnoDB;
