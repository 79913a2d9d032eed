package login

// Nobody is nobody, for the tests.
const Nobody = nobody
