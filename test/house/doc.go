// Package house holds the rules of the house as tests: which package may import which,
// how long files and functions may be, where unsafe may stand, what a package may keep
// in variables, and what must be documented.
//
// A rule that a place has good reason to break is listed in exceptions, by place and
// with the reason; an exception that is not needed any more fails the test too.
package house
