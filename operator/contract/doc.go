// Package contract has the tests of docs/contract.md: each clause of it is one
// test, which runs against the laptop and, where there is one, against a cluster,
// through the doors that everybody has. `hack/test contract` prints a table.
//
// What the platform calls is the stub, a function in Python. It tells the test of
// everything that it is called with, and answers as the test says (director). A
// chapter of clauses shares one Function, in which each clause has triggers of its
// own.
package contract
