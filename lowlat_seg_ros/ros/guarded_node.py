"""A lifecycle node with a boundary around every callback, rclpy's own for parameters and the clock included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleNode

from lowlat_seg_ros.errors import printable
from lowlat_seg_ros.ros.boundary import Faults, describe

_LIFECYCLE_SERVICES: Final = (
    "_service_change_state",
    "_service_get_state",
    "_service_get_available_states",
    "_service_get_available_transitions",
    "_service_get_transition_graph",
)


class GuardedNode(LifecycleNode):
    """What raises in one of its callbacks costs that message or request; `faults` has counted it."""

    def __init__(self, name: str, **options: Any) -> None:
        """`options` are those of rclpy's Node."""
        self.faults = Faults(lambda line: self.get_logger().error(line))  # rclpy makes the first services in its own
        super().__init__(name, **options)
        # rclpy makes the lifecycle's services without create_service.
        for attribute in _LIFECYCLE_SERVICES:
            service = getattr(self, attribute)
            service.callback = self._answering(service.callback, service.srv_name)
        self._service_change_state.callback = self._refusing_impossible(self._service_change_state.callback)

    def create_subscription(self, msg_type: Any, topic: str, callback: Any, *more: Any, **options: Any) -> Any:
        """As rclpy's; a callback that raises loses its message."""
        guarded = self.faults.guarded(callback, f"a message on {topic}")
        return super().create_subscription(msg_type, topic, guarded, *more, **options)

    def create_timer(self, timer_period_sec: float, callback: Any, *more: Any, **options: Any) -> Any:
        """As rclpy's; a callback that raises is called again next time."""
        return super().create_timer(timer_period_sec, self.faults.guarded(callback, "a timer's turn"), *more, **options)

    def create_service(self, srv_type: Any, srv_name: str, callback: Any, **options: Any) -> Any:
        """As rclpy's; where the callback raises, the request is answered with what the response's type has for no."""
        return super().create_service(srv_type, srv_name, self._answering(callback, srv_name), **options)

    def destroy_node(self) -> None:
        """As rclpy's, whose lifecycle would keep the node's handle, and so Fast DDS' files in /dev/shm."""
        super().destroy_node()
        self._state_machine.destroy_when_not_in_use()

    def _refusing_impossible(self, change: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """A change of state whose way there is none is answered with a no; Jazzy's rclpy raises and never answers."""

        def change_if_possible(request: Any, response: Any) -> Any:
            number, label = request.transition.id, request.transition.label
            ways = [way[:2] for way in self._state_machine.available_transitions]
            if any(label == name if label else number == way for way, name in ways):
                return change(request, response)
            asked = repr(printable(label)) if label else str(number)
            state, possible = self._state_machine.current_state[1], ", ".join(name for _, name in ways)
            self.get_logger().error(f"there is no transition {asked} from the state {state}; there are: {possible}")
            response.success = False
            return response

        return change_if_possible

    def _answering(self, callback: Callable[[Any, Any], Any], name: str) -> Callable[[Any, Any], Any]:
        def answer(request: Any, response: Any) -> Any:
            raised: list[Exception] = []

            def call() -> Any:
                try:
                    return callback(request, response)
                except Exception as error:
                    raised.append(error)
                    raise

            answered = self.faults.guarded(call, f"a request to {name}")()
            return _refusal(request, response, raised[0]) if raised else answered

        return answer


def _refusal(request: Any, response: Any, error: Exception) -> Any:
    """The response with a no where its type has room for one; a client must not wait for ever."""
    no = SetParametersResult(successful=False, reason=describe(error))
    if hasattr(response, "results") and hasattr(request, "parameters"):
        response.results = [*response.results, *[no] * (len(request.parameters) - len(response.results))]
    elif hasattr(response, "result") and hasattr(request, "parameters"):
        response.result = no
    elif hasattr(response, "success"):
        response.success = False
        if hasattr(response, "message"):
            response.message = describe(error)
    return response
