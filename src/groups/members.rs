//! The members of all groups, in one table for each method.

use mppd_engine::{Attribute, BuildContext, Finding, Request, Span};
use mppd_lists::logins::Logins;
use mppd_lists::mailboxes::Mailboxes;
use mppd_lists::networks::Networks;
use mppd_lists::reading::{EntriesOptions, Fault, Place, read};
use mppd_lists::{Table, subject};

use super::method::{Method, never_asked};
use super::stress::UnderStress;
use crate::config::settings::{DEFAULT_GROUP, GroupOptions, MembersOptions};

/// One table for each method over the members of all groups.
#[derive(Debug, Default)]
pub struct Members {
    ip_list: Networks<Member>,
    address_list_recipient: Mailboxes<Member>,
    address_list_sender: Mailboxes<Member>,
    sasl_user: Logins<Member>,
    /// The group of each list.
    groups: Vec<usize>,
}

/// Where a member stands: so small because there are a million of them.
#[derive(Debug, Clone, Copy)]
struct Member {
    list: u32,
    /// The word in the configuration, or the line in the file.
    number: u32,
}

impl Members {
    /// Reads the members of all groups; tells what is no member, what is in two groups, and what
    /// is never looked for.
    pub(super) fn read(
        groups: &[GroupOptions],
        sequence: &[Method],
        under_stress: &UnderStress,
        cx: &BuildContext<'_>,
    ) -> (Members, Vec<Finding>) {
        let mut reading = Reading { groups, cx, lists: Vec::new(), findings: Vec::new() };
        let mut members = Members::default();
        for (group, options) in groups.iter().enumerate() {
            for element in &options.members {
                if options.id.value == DEFAULT_GROUP {
                    reading.refuse_members_of_default(element.span);
                    continue;
                }
                reading.element(&mut members, group, &element.value, sequence);
            }
        }
        // A database may know members of any group.
        if !sequence.contains(&Method::Sql) {
            reading.warn_of_groups_without_members(under_stress);
        }
        members.ip_list.settle();
        members.address_list_recipient.settle();
        members.address_list_sender.settle();
        members.sasl_user.settle();
        members.groups = reading.lists.iter().map(|list| list.group).collect();
        (members, reading.findings)
    }

    /// The group that a method finds for a request.
    pub(super) fn find(&self, method: Method, request: &Request) -> Option<usize> {
        let member = match method {
            Method::IpList => *self.ip_list.find(request.client_address()?)?.value,
            Method::AddressListRecipient => {
                *self.address_list_recipient.find(&subject::recipient(request)?)?.value
            }
            Method::AddressListSender => {
                *self.address_list_sender.find(&subject::sender(request)?)?.value
            }
            Method::SaslUser => *self.sasl_user.find(subject::sasl_username(request)?)?.value,
            Method::Sql => return None,
        };
        self.groups.get(usize::try_from(member.list).ok()?).copied()
    }
}

/// The lists read so far. Each element is two: its words, then the lines of its file.
struct Reading<'a> {
    groups: &'a [GroupOptions],
    cx: &'a BuildContext<'a>,
    lists: Vec<List<'a>>,
    findings: Vec<Finding>,
}

#[derive(Clone, Copy)]
struct List<'a> {
    group: usize,
    options: &'a EntriesOptions,
    is_file: bool,
}

impl<'a> Reading<'a> {
    fn element(
        &mut self,
        members: &mut Members,
        group: usize,
        options: &'a MembersOptions,
        sequence: &[Method],
    ) {
        macro_rules! add_each {
            ($($field:ident: $method:ident, $attribute:ident;)+) => {
                $(for options in &options.$field {
                    if !sequence.contains(&Method::$method) {
                        self.warn_of_method(Method::$method, options);
                    }
                    self.add(&mut members.$field, group, options, Attribute::$attribute);
                })+
            };
        }
        add_each! {
            ip_list: IpList, ClientAddress;
            address_list_recipient: AddressListRecipient, Recipient;
            address_list_sender: AddressListSender, Sender;
            sasl_user: SaslUser, SaslUsername;
        }
    }

    fn add<T: Table<Member>>(
        &mut self,
        table: &mut T,
        group: usize,
        options: &'a EntriesOptions,
        attribute: Attribute,
    ) {
        let words = self.lists.len();
        self.lists.push(List { group, options, is_file: false });
        self.lists.push(List { group, options, is_file: true });
        let findings = read::<Member, T>(options, attribute, self.cx, |entry, text, place| {
            let (list, number) = match place {
                Place::Word { number, .. } => (words, number),
                Place::Line { number, .. } => (words + 1, number),
            };
            let (Ok(list), Ok(number)) = (u32::try_from(list), u32::try_from(number)) else {
                return Some(place.finding(Fault::new("more members than can be counted")));
            };
            let others = table.values(&entry).into_iter().flatten();
            if let Some(other) = others.copied().find(|other| self.group(*other) != Some(group)) {
                return Some(self.in_two_groups(text, place, other));
            }
            table.insert(entry, Member { list, number });
            None
        });
        self.findings.extend(findings);
    }

    fn list(&self, member: Member) -> Option<&List<'a>> {
        self.lists.get(usize::try_from(member.list).ok()?)
    }

    fn group(&self, member: Member) -> Option<usize> {
        self.list(member).map(|list| list.group)
    }

    fn in_two_groups(&self, text: &str, place: Place<'_>, first: Member) -> Finding {
        let group = self.group(first).map_or("", |group| &self.groups[group].id.value);
        let message = format!("\"{text}\" is a member of group \"{group}\" already");
        let finding = place.finding(Fault::new(message));
        let Some((span, words)) = self.place(first) else { return finding };
        finding.with_related(span, words)
    }

    /// Where a member stands, and in which words to say so.
    fn place(&self, member: Member) -> Option<(Span, String)> {
        let List { options, is_file, .. } = self.list(member)?;
        if *is_file {
            let file = options.file.as_ref()?;
            let path = self.cx.path(file);
            return Some((file.span, format!("in line {} of {}", member.number, path.display())));
        }
        let word = options.entries.as_ref()?.words().nth(usize::try_from(member.number).ok()?)?;
        Some((word.span, "first here".to_owned()))
    }

    fn refuse_members_of_default(&mut self, span: Span) {
        let message = format!("group \"{DEFAULT_GROUP}\" has no members of its own");
        let finding = Finding::error(span, message)
            .with_help("every request that belongs to no other group belongs to it");
        self.findings.push(finding);
    }

    fn warn_of_method(&mut self, method: Method, options: &EntriesOptions) {
        let entries = options.entries.as_ref().map(|entries| entries.span);
        let Some(span) = entries.or(options.file.as_ref().map(|file| file.span)) else { return };
        self.findings.push(never_asked(method, span));
    }

    fn warn_of_groups_without_members(&mut self, under_stress: &UnderStress) {
        for (place, group) in self.groups.iter().enumerate() {
            let is_used = group.id.value == DEFAULT_GROUP || under_stress.uses(place);
            if group.members.is_empty() && !is_used {
                let message = format!("group \"{}\" has no members", group.id.value);
                self.findings.push(Finding::warning(group.id.span, message));
            }
        }
    }
}
