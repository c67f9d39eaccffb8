// Package event reads and writes CloudEvents 1.0 in the forms that Serviceful
// speaks: HTTP in binary, structured and batched mode, and the header form in
// which a message is stored and delivered.
//
// An Event keeps its attributes exactly as the HTTP binding spells them in
// headers, so that the way from the door through the stream to the function
// neither decodes nor encodes anything. The package never does I/O beyond
// reading a body it is handed; it imports names, and the CloudEvents SDK for
// what filters work on.
package event
