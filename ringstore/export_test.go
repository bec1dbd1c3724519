package ringstore

// MakeImage is a history of about n realistic records, for tests of packages above.
var MakeImage = benchImage
