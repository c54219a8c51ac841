// Package migration is the vocabulary that every other part of snapferry speaks. It holds the plan
// that describes a migration, the phases that it goes through, the status and the report that it
// gives, the names of its signals, updates, queries and activities with their requests and results,
// and the types of the errors that it can end in.
//
// A migration is one run of a plan. It moves Elasticsearch indices from an Amazon Elasticsearch
// Service domain to an Alibaba Cloud Elasticsearch cluster in rounds (snapshot, copy, close,
// restore, open, check) while the source stays in use, and stops writes only for the last round.
//
// What a person reads is decided here as well, once for the starter, the Temporal UI and the
// report: Judge answers requests, ErrorType.RemedyIn says what helps against an error,
// Measured.Predict foresees the frozen window.
//
// The package does no I/O and knows no network, so workflow code may use all of it. The JSON of its
// types is an interface: histories, plans and scripts hold it, so fields are added and never
// renamed.
package migration
