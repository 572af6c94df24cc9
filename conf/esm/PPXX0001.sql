-- PPXX0001.sql: the tables that mppd keeps its records in.
-- mppd creates them itself where its user may; else:  mysql DATABASE < PPXX0001.sql
-- Made by `mppd schema`; not to be edited.

SET NAMES utf8mb4;

CREATE TABLE IF NOT EXISTS `track_policy_request` (
  `id` BINARY(16) NOT NULL COMMENT 'Key of the request, a UUID of version 7: time-ordered, unique across nodes.',
  `state` VARCHAR(16) NOT NULL COMMENT '`received` while the request is checked, `processed` once it is decided.',
  `received_timestamp` DATETIME(6) NOT NULL COMMENT 'When the request came.',
  `request` VARCHAR(64) NULL COMMENT 'Always `smtpd_access_policy`.',
  `protocol_state` VARCHAR(32) NULL COMMENT 'The SMTP command that is being decided: `CONNECT`, `EHLO`, `HELO`, `MAIL`, `RCPT`, `DATA`, `END-OF-MESSAGE`, `VRFY`, `ETRN`, or one that is not documented.',
  `protocol_name` VARCHAR(32) NULL COMMENT '`SMTP` or `ESMTP`.',
  `helo_name` TEXT NULL COMMENT 'What the client said after HELO or EHLO.',
  `queue_id` VARCHAR(64) NULL COMMENT 'Queue ID; empty until a recipient was accepted.',
  `sender_local` VARCHAR(255) NULL COMMENT 'Local part of the address, or all of it where there is no `@`; empty for the null sender.',
  `sender_reverse_domain` VARCHAR(255) NULL COMMENT 'Domain of the address, lower-case, its labels in reverse order (`com.example.mail`), so that a domain and all below it is one range; an address literal as it is. NULL where the address has none.',
  `recipient_local` VARCHAR(255) NULL COMMENT 'Local part of the address, or all of it where there is no `@`; empty for the null sender.',
  `recipient_reverse_domain` VARCHAR(255) NULL COMMENT 'Domain of the address, lower-case, its labels in reverse order (`com.example.mail`), so that a domain and all below it is one range; an address literal as it is. NULL where the address has none.',
  `recipient_count` BIGINT NULL COMMENT 'Number of accepted recipients, at DATA and END-OF-MESSAGE.',
  `client_address` VARCHAR(64) NULL COMMENT 'Address of the client, or `unknown`.',
  `client_name` VARCHAR(255) NULL COMMENT 'Verified name of the client, or `unknown`.',
  `reverse_client_name` VARCHAR(255) NULL COMMENT 'Name that the client''s address points to, not verified, or `unknown`.',
  `instance` VARCHAR(64) NULL COMMENT 'Key of one mail transaction.',
  `sasl_method` VARCHAR(64) NULL COMMENT 'SASL mechanism of an authenticated client.',
  `sasl_username` TEXT NULL COMMENT 'Login name of an authenticated client.',
  `sasl_sender` TEXT NULL COMMENT 'What the client claimed in `MAIL FROM … AUTH=`.',
  `size` BIGINT NULL COMMENT 'Size in octets, as announced or (at END-OF-MESSAGE) as received.',
  `ccert_subject` TEXT NULL COMMENT 'Common name of the verified client certificate, xtext.',
  `ccert_issuer` TEXT NULL COMMENT 'Common name of the issuer of that certificate, xtext.',
  `ccert_fingerprint` VARCHAR(255) NULL COMMENT 'Fingerprint of the client certificate.',
  `encryption_protocol` VARCHAR(32) NULL COMMENT 'TLS protocol.',
  `encryption_cipher` VARCHAR(64) NULL COMMENT 'TLS cipher.',
  `encryption_keysize` BIGINT NULL COMMENT 'TLS key size in bits.',
  `etrn_domain` TEXT NULL COMMENT 'Argument of ETRN.',
  `stress` VARCHAR(16) NULL COMMENT '`yes` when Postfix is under stress.',
  `processed_timestamp` DATETIME(6) NULL COMMENT 'When the decision was recorded; NULL until then.',
  `ch_wbl` VARCHAR(64) NULL COMMENT 'Status of the engine of this ID; NULL where it did not run.',
  `spam_traps` VARCHAR(64) NULL COMMENT 'Status of the engine of this ID; NULL where it did not run.',
  `wbl` VARCHAR(64) NULL COMMENT 'Status of the engine of this ID; NULL where it did not run.',
  `spf` VARCHAR(64) NULL COMMENT 'Status of the engine of this ID; NULL where it did not run.',
  `rbl` VARCHAR(64) NULL COMMENT 'Status of the engine of this ID; NULL where it did not run.',
  `greylist` VARCHAR(64) NULL COMMENT 'Status of the engine of this ID; NULL where it did not run.',
  `error_text` TEXT NULL COMMENT 'The exception that ended the chains: engine, kind and message. The kinds: `failed`, `panic`, `timeout`, `overloaded`, `suspended`, `gone`, `deadline`.',
  `decision` VARCHAR(32) NULL COMMENT 'The action''s word or code, as in access(5): `REJECT`, `DUNNO`, `450`.',
  `decision_text` TEXT NULL COMMENT 'What follows that word. Where the policy group is in a dry run, the word is `DUNNO`, and this is what would have been answered: `dry run: REJECT listed`.',
  `ccert_pubkey_fingerprint` VARCHAR(255) NULL COMMENT 'Fingerprint of the client certificate''s public key.',
  `client_port` VARCHAR(16) NULL COMMENT 'Port of the client, or `unknown`.',
  `policy_context` TEXT NULL COMMENT 'The text configured for this endpoint in Postfix.',
  `server_address` VARCHAR(64) NULL COMMENT 'Local address of the SMTP connection.',
  `server_port` VARCHAR(16) NULL COMMENT 'Local port of the SMTP connection.',
  `compatibility_level` VARCHAR(32) NULL COMMENT 'Postfix''s `compatibility_level`.',
  `mail_version` VARCHAR(64) NULL COMMENT 'Postfix''s version.',
  `tls_sni` VARCHAR(255) NULL COMMENT 'Server name that the client asked for.',
  `group_id` VARCHAR(255) NULL COMMENT 'Policy group of the request.',
  `rbl_site` TEXT NULL COMMENT 'The list that the engine `rbl` found the client or name on.',
  `rbl_reason` TEXT NULL COMMENT 'What that list says about it.',
  `checks` MEDIUMTEXT NULL COMMENT 'Every engine that ran, in that order: `{"ID": {"status": …, "ms": …, "text": …}}`; `text` only where there is one. An engine that ran again is `ID#2`. NULL where none ran.',
  `repeat_of` BINARY(16) NULL COMMENT 'Key of the request that this one repeats octet for octet, and whose answer it got.',
  `node` VARCHAR(255) NULL COMMENT 'The node that answered.',
  `raw_request` MEDIUMBLOB NULL COMMENT 'The whole request, octet for octet, exactly where the other columns would not give it back: values that are not UTF-8, too long or not in the canonical form, unknown or repeated attributes, another order. NULL elsewhere.',
  PRIMARY KEY (`id`),
  KEY `received_timestamp` (`received_timestamp`),
  KEY `instance` (`instance`),
  KEY `sender` (`sender_reverse_domain`(64), `sender_local`(32)),
  KEY `recipient` (`recipient_reverse_domain`(64), `recipient_local`(32)),
  KEY `client_address` (`client_address`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS `mppd_schema` (
  `name` VARCHAR(64) NOT NULL COMMENT 'A table of mppd.',
  `version` BIGINT NOT NULL COMMENT 'Version of its schema.',
  PRIMARY KEY (`name`)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

INSERT IGNORE INTO `mppd_schema` (name, version) VALUES ('track_policy_request', 1);
