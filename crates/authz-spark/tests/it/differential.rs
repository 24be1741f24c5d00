//! The evaluator of `agentex-authz` against SpiceDB: the same relationships, the same questions, the same answers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use agentex_authz::model::{
    AllowedSubject, CheckContext, Graph, Object, Relationship, SCHEMA, Schema, Subject, SubjectForm,
};
use prost_types::{Struct, Value, value::Kind};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use spicedb_grpc_tonic::v1::{
    self, CheckBulkPermissionsRequest, CheckBulkPermissionsRequestItem, ContextualizedCaveat, LookupPermissionship,
    LookupResourcesRequest, WriteRelationshipsRequest, check_bulk_permissions_pair::Response as Answer,
    check_permission_response::Permissionship,
};

use crate::support::{Raw, fully, object, spark, touch};

/// Objects of each type, so few that they meet often.
const OBJECTS: usize = 3;
/// Long enough for any model that SpiceDB copes with at all.
const LIMIT: Duration = Duration::from_secs(20);
const CHECKS_PER_MODEL: usize = 250;
const LOOKUPS_PER_MODEL: usize = 10;

/// Random relationships. Their ids begin with the seed, so that any number of models fit into one SpiceDB.
struct Model {
    seed: u64,
    relationships: Vec<Relationship>,
    /// Groups may be in each other in a ring. SpiceDB gives up on some questions about those, and we do not; with more
    /// than one way around it would not even come to an end.
    circular: bool,
}

#[derive(Debug, Clone)]
struct Question {
    kind: String,
    id: String,
    permission: String,
    subject: Object,
    acting_account: Option<String>,
}

#[derive(Debug, Default)]
struct Tally {
    checks: usize,
    allowed: usize,
    lookups: usize,
    found: usize,
    given_up: usize,
}

struct Divergence {
    model: Model,
    question: Question,
    ours: String,
    spicedb: String,
}

impl Model {
    fn random(seed: u64, schema: &Schema) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let circular = random.random_ratio(1, 8);
        let relations: Vec<_> = schema
            .definitions
            .iter()
            .flat_map(|(kind, definition)| definition.relations.iter().map(move |found| (kind, found)))
            .collect();
        let mut model = Self { seed, relationships: Vec::new(), circular };
        let mut edges = BTreeMap::new();
        for _ in 0..random.random_range(10..140) {
            let (kind, (relation, subjects)) = relations.choose(&mut random).expect("the schema has relations");
            let allowed = subjects.choose(&mut random).expect("every relation takes a subject");
            let on = random.random_range(0..OBJECTS);
            let Some(subject) = model.subject(&mut random, kind, on, allowed) else { continue };
            let edge = Relationship {
                resource: Object::new(kind, &model.id(on)),
                relation: relation.as_str().into(),
                subject,
                // Mostly the account's own, as it is meant.
                acting_in: allowed.caveat.as_ref().map(|_| {
                    let account = if random.random_ratio(2, 3) { on } else { random.random_range(0..OBJECTS) };
                    model.id(account).as_str().into()
                }),
            };
            edges.insert((edge.resource.clone(), edge.relation.clone(), edge.subject.clone()), edge);
        }
        model.relationships = edges.into_values().collect();
        model
    }

    fn subject(&self, random: &mut StdRng, kind: &str, on: usize, allowed: &AllowedSubject) -> Option<Subject> {
        let number = random.random_range(0..OBJECTS);
        let one = |number| Object::new(&allowed.kind, &self.id(number));
        Some(match &allowed.form {
            SubjectForm::Object => Subject::object(one(number)),
            SubjectForm::Wildcard => Subject::object(Object::new(&allowed.kind, "*")),
            // A group within a group comes after it, or all of them are one ring.
            SubjectForm::Userset(_) if kind == "group" && !self.circular && number <= on => return None,
            SubjectForm::Userset(_) if kind == "group" && self.circular && number != (on + 1) % OBJECTS => return None,
            SubjectForm::Userset(relation) => Subject { object: one(number), relation: Some(relation.as_str().into()) },
        })
    }

    fn id(&self, number: usize) -> String {
        format!("{}-{number}", self.seed)
    }

    fn question(&self, random: &mut StdRng, schema: &Schema) -> Question {
        let names: Vec<_> = schema
            .definitions
            .iter()
            .flat_map(|(kind, definition)| {
                // Permissions are what is asked about; relations by themselves are worth a look now and then.
                let permissions = definition.permissions.keys().map(move |name| (kind, name, 8));
                permissions.chain(definition.relations.keys().map(move |name| (kind, name, 1)))
            })
            .collect();
        let (kind, permission, _) =
            names.choose_weighted(random, |(_, _, weight)| *weight).expect("the schema has permissions");
        let subject = if random.random_ratio(3, 4) { "user" } else { "service_account" };
        Question {
            kind: (*kind).clone(),
            id: self.id(random.random_range(0..OBJECTS)),
            permission: (*permission).clone(),
            // One more than there are in relationships: somebody nobody has heard of.
            subject: Object::new(subject, &self.id(random.random_range(0..=OBJECTS))),
            acting_account: random.random_ratio(9, 10).then(|| self.id(random.random_range(0..OBJECTS))),
        }
    }

    async fn load(&self, raw: &Raw) {
        let updates = self.relationships.iter().map(|edge| touch(message(edge))).collect();
        let request = WriteRelationshipsRequest { updates, ..Default::default() };
        raw.client().write_relationships(raw.request(request)).await.unwrap();
    }

    fn graph(&self) -> Graph {
        let mut graph = Graph::default();
        self.relationships.iter().cloned().for_each(|edge| graph.insert(edge));
        graph
    }
}

fn message(edge: &Relationship) -> v1::Relationship {
    let caveat = edge.acting_in.as_ref().map(|account| ContextualizedCaveat {
        caveat_name: "acting_in".to_owned(),
        context: Some(context("account", account)),
    });
    v1::Relationship {
        resource: Some(object(&edge.resource.kind, &edge.resource.id)),
        relation: edge.relation.to_string(),
        subject: Some(v1::SubjectReference {
            object: Some(object(&edge.subject.object.kind, &edge.subject.object.id)),
            optional_relation: edge.subject.relation.as_deref().unwrap_or_default().to_owned(),
        }),
        optional_caveat: caveat,
        optional_expires_at: None,
    }
}

fn context(name: &str, value: &str) -> Struct {
    let value = Value { kind: Some(Kind::StringValue(value.to_owned())) };
    Struct { fields: [(name.to_owned(), value)].into() }
}

impl Question {
    fn subject(&self) -> v1::SubjectReference {
        v1::SubjectReference { object: Some(object(&self.subject.kind, &self.subject.id)), ..Default::default() }
    }

    fn context(&self) -> Option<Struct> {
        self.acting_account.as_deref().map(|account| context("acting_account", account))
    }

    fn our_context(&self) -> CheckContext<'_> {
        CheckContext { acting_account: self.acting_account.as_deref() }
    }

    fn item(&self) -> CheckBulkPermissionsRequestItem {
        CheckBulkPermissionsRequestItem {
            resource: Some(object(&self.kind, &self.id)),
            permission: self.permission.clone(),
            subject: Some(self.subject()),
            context: self.context(),
        }
    }

    /// SpiceDB's answer, or the error it has instead.
    async fn look_up(&self, raw: &Raw) -> Result<BTreeSet<String>, tonic::Status> {
        let request = LookupResourcesRequest {
            consistency: Some(fully()),
            resource_object_type: self.kind.clone(),
            permission: self.permission.clone(),
            subject: Some(self.subject()),
            context: self.context(),
            ..Default::default()
        };
        let mut answers = raw.client().lookup_resources(limited(raw.request(request))).await?.into_inner();
        let mut found = BTreeSet::new();
        while let Some(answer) = answers.message().await? {
            if answer.permissionship() == LookupPermissionship::HasPermission {
                found.insert(answer.resource_object_id);
            }
        }
        Ok(found)
    }
}

/// Asks both about the model and stops at the first difference.
async fn compare(raw: &Raw, ours: &Schema, model: Model, tally: &mut Tally) -> Result<(), Box<Divergence>> {
    let theirs = Schema::parse(SCHEMA).unwrap();
    let mut random = StdRng::seed_from_u64(model.seed ^ u64::MAX);
    let graph = model.graph();
    model.load(raw).await;

    let questions: Vec<Question> = (0..CHECKS_PER_MODEL).map(|_| model.question(&mut random, &theirs)).collect();
    let items = questions.iter().map(Question::item).collect();
    let request = CheckBulkPermissionsRequest { consistency: Some(fully()), items, with_tracing: false };
    let answers = match raw.client().check_bulk_permissions(limited(raw.request(request))).await {
        Ok(answers) => answers.into_inner().pairs,
        Err(status) => panic!("SpiceDB does not answer about the model of seed {}: {status}", model.seed),
    };
    assert_eq!(answers.len(), questions.len());
    for (question, answer) in questions.into_iter().zip(answers) {
        assert_eq!(answer.request, Some(question.item()), "answers come in the order of the questions");
        let resource = Object::new(&question.kind, &question.id);
        let allowed = ours.check(&graph, &resource, &question.permission, &question.subject, question.our_context());
        let spicedb = match answer.response.unwrap() {
            Answer::Item(item) => Ok(item.permissionship() == Permissionship::HasPermission),
            Answer::Error(_) if model.circular => {
                tally.given_up += 1;
                continue;
            }
            Answer::Error(error) => Err(error.message),
        };
        tally.checks += 1;
        tally.allowed += usize::from(spicedb == Ok(true));
        if allowed.as_ref().ok() != spicedb.as_ref().ok() {
            return Err(Divergence::new(model, question, &allowed, &spicedb));
        }
    }

    let lookups = if model.circular { 0 } else { LOOKUPS_PER_MODEL };
    for _ in 0..lookups {
        let question = model.question(&mut random, &theirs);
        let found = ours
            .lookup(&graph, &question.kind, &question.permission, &question.subject, question.our_context())
            .map(|found| found.iter().map(|id| id.to_string()).collect::<BTreeSet<_>>());
        let spicedb = match question.look_up(raw).await {
            Ok(ids) => Ok(ids),
            Err(status) => Err(status.to_string()),
        };
        tally.lookups += 1;
        tally.found += spicedb.as_ref().map_or(0, BTreeSet::len);
        if found.as_ref().ok() != spicedb.as_ref().ok() {
            return Err(Divergence::new(model, question, &found, &spicedb));
        }
    }
    Ok(())
}

impl Divergence {
    fn new(model: Model, question: Question, ours: &impl fmt::Debug, spicedb: &impl fmt::Debug) -> Box<Self> {
        Box::new(Self { model, question, ours: format!("{ours:?}"), spicedb: format!("{spicedb:?}") })
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { model, question, ours, spicedb } = self;
        writeln!(f, "ours says {ours}, SpiceDB {spicedb}, to {question:?}")?;
        writeln!(f, "replay: AGENTEX_DIFFERENTIAL_SEED={} AGENTEX_DIFFERENTIAL_CASES=1", model.seed)?;
        for edge in &model.relationships {
            let caveat = edge.acting_in.as_ref().map(|account| format!("[{account}]")).unwrap_or_default();
            writeln!(f, "  {}#{}@{}{caveat}", edge.resource, edge.relation, edge.subject)?;
        }
        Ok(())
    }
}

fn limited<T>(mut request: tonic::Request<T>) -> tonic::Request<T> {
    request.set_timeout(LIMIT);
    request
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|error| panic!("{name}: {error}")))
}

#[tokio::test]
async fn both_engines_give_the_same_answers() {
    let cases = usize::try_from(setting("AGENTEX_DIFFERENTIAL_CASES", 10_000)).unwrap();
    let first = setting("AGENTEX_DIFFERENTIAL_SEED", 1);
    let schema = Schema::parse(SCHEMA).unwrap();
    let spark = spark().await;
    let raw = spark.raw().await;
    let mut tally = Tally::default();

    for seed in first.. {
        let model = Model::random(seed, &schema);
        if let Err(divergence) = compare(&raw, &schema, model, &mut tally).await {
            panic!("{divergence}");
        }
        if tally.checks >= cases {
            break;
        }
    }

    println!("{tally:?}");
    // Questions that are all denied would compare nothing.
    if tally.checks >= 1_000 {
        assert!(tally.allowed > tally.checks / 50 && tally.found > tally.lookups / 20, "{tally:?}");
        assert!(tally.given_up < tally.checks / 20, "{tally:?}");
    }
}

/// The test above is worth something if it notices a change of one word.
#[tokio::test]
async fn an_engine_that_differs_is_found_out() {
    let spark = spark().await;
    let raw = spark.raw().await;
    for (from, to) in [("cancel = owner &", "cancel = (editor + owner) &"), ("& parent_agent->read &", "&")] {
        let changed = Schema::parse(&SCHEMA.replace(from, to)).unwrap();
        let right = Schema::parse(SCHEMA).unwrap();
        assert_ne!(changed, right);

        let mut seeds = 1..=200;
        let mut tally = Tally::default();
        let found = loop {
            let Some(seed) = seeds.next() else { break None };
            if let Err(divergence) = compare(&raw, &changed, Model::random(seed, &right), &mut tally).await {
                break Some(divergence);
            }
        };

        let found = found.unwrap_or_else(|| panic!("{from} -> {to} went unnoticed in {tally:?}"));
        assert!(found.question.permission == "cancel" || found.question.permission == "read", "{found}");
    }
}
