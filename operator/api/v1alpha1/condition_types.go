package v1alpha1

// Condition types of a Function. All but Stalled are positive: True is good. Each
// carries the generation it was computed for.
const (
	// ConditionReady is computed from the three other conditions, never set by
	// a step: True when all are True, False with the first False one's reason
	// and message, else Unknown.
	//
	// Reasons for True: Ready. For False: any reason of the others. For
	// Unknown: Reconciling.
	ConditionReady = "Ready"

	// ConditionServiceReady says whether the function's Knative Service can
	// serve calls (scaled to zero counts as ready).
	//
	// Reasons for True: Ready. For False: ImageNotBuilt, NameTaken,
	// ServiceFailed. For Unknown: Reconciling.
	ConditionServiceReady = "ServiceReady"

	// ConditionTriggersReady says whether every trigger calls the function.
	// status.triggers carries the same reasons, one trigger each.
	//
	// Reasons for True: Ready. For False: RouteTaken, InvalidRoute, QueueTaken,
	// InvalidFilter, InvalidSchedule, ConsumerLimit, EventsAtRisk. For Unknown: Reconciling.
	ConditionTriggersReady = "TriggersReady"

	// ConditionBindingsReady says whether every bound service can be used.
	//
	// Reasons for True: Ready. For False: ServiceUnavailable, FunctionNotFound.
	// For Unknown: Reconciling.
	ConditionBindingsReady = "BindingsReady"

	// ConditionStalled is there, and True, while Ready is False, with Ready's
	// reason and message: nothing more will come of waiting. It is how kstatus
	// (sigs.k8s.io/cli-utils), and with it Helm, Flux and Argo CD, tell what has
	// failed from what is still on its way.
	ConditionStalled = "Stalled"
)

// Reasons of the conditions and of status.triggers.
const (
	// ReasonReady is used when a condition is True.
	ReasonReady = "Ready"
	// ReasonReconciling is used while the platform still works on the latest generation.
	ReasonReconciling = "Reconciling"

	// ReasonImageNotBuilt is used when the image is an unresolved ko://
	// reference: only a laptop builds those; a deployment resolves them first.
	ReasonImageNotBuilt = "ImageNotBuilt"
	// ReasonNameTaken is used when a Service, Knative Service or ServiceAccount of
	// the function's name exists and is not ours. It is never adopted.
	ReasonNameTaken = "NameTaken"
	// ReasonServiceFailed is used when Knative cannot run the function; the
	// message is Knative's.
	ReasonServiceFailed = "ServiceFailed"

	// ReasonRouteTaken is used when an older Function has the same route, or
	// another namespace the same host.
	ReasonRouteTaken = "RouteTaken"
	// ReasonInvalidRoute is used when an http path cannot be routed.
	ReasonInvalidRoute = "InvalidRoute"
	// ReasonQueueTaken is used when an older Function has a trigger on the queue.
	ReasonQueueTaken = "QueueTaken"
	// ReasonInvalidFilter is used when an event filter cannot be compiled.
	ReasonInvalidFilter = "InvalidFilter"
	// ReasonInvalidSchedule is used when a schedule's cron cannot be read or never
	// fires, or its time zone is unknown.
	ReasonInvalidSchedule = "InvalidSchedule"
	// ReasonInvalidStart is used when a startFrom is a day that there is not.
	ReasonInvalidStart = "InvalidStart"
	// ReasonPaused is used for a trigger that is paused: it is as it should be, and
	// calls nothing.
	ReasonPaused = "Paused"
	// ReasonConsumerLimit is used when NATS refuses one more consumer.
	ReasonConsumerLimit = "ConsumerLimit"
	// ReasonEventsAtRisk is used when the oldest pending event has passed half
	// of the time that the event log keeps it.
	ReasonEventsAtRisk = "EventsAtRisk"

	// ReasonServiceUnavailable is used while a bound service cannot be set up: NATS
	// is not there, or refuses. It is tried again.
	ReasonServiceUnavailable = "ServiceUnavailable"
	// ReasonFunctionNotFound is used when a bound function does not exist.
	ReasonFunctionNotFound = "FunctionNotFound"
)

// Reasons of dead letters.
const (
	// ReasonEmitRefused is used when the function answered with an event that
	// is malformed or not in its emits.
	ReasonEmitRefused = "EmitRefused"
	// ReasonTriggerRemoved is used for calls that were waiting when their
	// trigger or Function was removed.
	ReasonTriggerRemoved = "TriggerRemoved"
)
