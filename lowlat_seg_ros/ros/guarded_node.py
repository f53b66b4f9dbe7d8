"""A lifecycle node with a boundary around every callback, rclpy's own for parameters and the clock included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleNode

from lowlat_seg_ros.ros.boundary import Faults, describe


class GuardedNode(LifecycleNode):
    """What raises in one of its callbacks costs that message or request; `faults` has counted it."""

    def __init__(self, name: str, **options: Any) -> None:
        """`options` are those of rclpy's Node."""
        self.faults = Faults(lambda line: self.get_logger().error(line))  # rclpy makes the first services in its own
        super().__init__(name, **options)

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
