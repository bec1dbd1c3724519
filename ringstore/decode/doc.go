// Package decode turns histories into what people and programs read: the text of
// strace, line for line, and JSON with one object a line. What they tell of a death is
// what package verdict is for.
//
// It knows no system call by name. What a call's arguments are and how they are shown
// stands in the table of package syscalls; this package has one piece of code for each
// format. It changes neither the history nor the events that it is given, and all its
// functions may be called at once from several goroutines.
package decode
