CREATE TABLE domains (id int unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY, name varchar(255) NOT NULL UNIQUE) ENGINE=InnoDB;
CREATE TABLE accounts (
    id int unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY, type varchar(32) NOT NULL DEFAULT 'plain', password text
) ENGINE=InnoDB;
CREATE TABLE mail (
    id int unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY, mail_name varchar(245) NOT NULL,
    perm_id int unsigned NOT NULL DEFAULT 0, postbox enum('false','true') NOT NULL DEFAULT 'false',
    account_id int unsigned NOT NULL DEFAULT 0, redirect enum('false','true') NOT NULL DEFAULT 'false',
    redir_addr varchar(255), mail_group enum('false','true') NOT NULL DEFAULT 'false',
    autoresponder enum('false','true') NOT NULL DEFAULT 'false', spamfilter enum('false','true') NOT NULL DEFAULT 'false',
    mbox_quota bigint NOT NULL DEFAULT -1, dom_id int unsigned NOT NULL DEFAULT 0, UNIQUE KEY name (dom_id, mail_name)
) ENGINE=InnoDB;
CREATE TABLE mail_aliases (id int unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY, mn_id int unsigned NOT NULL, alias varchar(245) NOT NULL) ENGINE=InnoDB;
INSERT INTO domains (id, name) VALUES (7, 'example.com'), (12, 'example.net');
INSERT INTO accounts (id, type, password) VALUES (1, 'crypt', '$1$annsalt$0123456789abcdefghijkl'), (2, 'plain', 'b\'o\\b'), (3, 'plain', 'info');
INSERT INTO mail (id, mail_name, postbox, account_id, mbox_quota, dom_id, redirect, redir_addr) VALUES
    (1, 'ann', 'true', 1, 20971520, 7, 'false', NULL), (2, 'bob', 'true', 2, 5242880, 7, 'false', NULL),
    (3, 'carol', 'false', 0, -1, 7, 'true', 'carol@partner.example'), (4, 'info', 'true', 3, -1, 12, 'false', NULL);
INSERT INTO mail_aliases (mn_id, alias) VALUES (1, 'anna'), (1, 'annie'), (4, 'sales');
