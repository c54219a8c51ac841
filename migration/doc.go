// Package migration is the vocabulary that every other part of snapferry
// speaks: the plan that describes a migration, the phases it goes through, the
// status and report it gives, the names of its signals, updates, queries and
// activities, and the types of the errors that it can end in.
//
// A migration is one run of a plan: it moves Elasticsearch indices from an
// Amazon Elasticsearch Service domain to an Alibaba Cloud Elasticsearch
// cluster in rounds (snapshot, copy, close, restore, open, check) while the
// source stays in use, and stops writes only for the last round.
//
// The package does no I/O and knows no network, so workflow code may use all
// of it.
package migration
