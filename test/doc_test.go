// Package test runs whole programs on the host and in a sandbox and compares them: the host
// is the oracle.
//
// guest holds C programs, each a table of sections that write a report of lines; guest_test.go
// compares them section by section. e2e_*_test.go run shell scripts, tools and programs of other kinds
// and compare output, errors and exit status. hostile_*_test.go run what tries to bring the sandbox
// down: the same sandbox must still run a last command and end cleanly. bench measures.
//
// The sandbox's program is built once a run from cmd/sentry (SENTRY names another one), guest programs
// are compiled with cc and go build into the same temporary directory. Everything runs on each platform that the host can run,
// the slow tests of platforms_test.go on the first one alone unless SENTRY_TEST_ALL is set. SENTRY_PLATFORMS
// lists the platforms to test, separated by commas, and SENTRY_FLAGS what else to give to "sentry do", such as
// "--strace". A test whose tool is missing says so and is skipped. After all tests no process of
// a sandbox may be left.
package test
