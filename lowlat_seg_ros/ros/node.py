"""The node `lowlat_seg`: its lifecycle, its parameters and what it says of itself.

Imports nothing that loads torch: it says that it is starting before it has loaded anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.logging import LoggingSeverity
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool

from lowlat_seg_ros.errors import Error, ParameterError, printable
from lowlat_seg_ros.ros.boundary import describe
from lowlat_seg_ros.ros.diagnostics import ERROR, OK, WARN
from lowlat_seg_ros.ros.guarded_node import GuardedNode
from lowlat_seg_ros.ros.heartbeat import Heartbeat, own_status_name
from lowlat_seg_ros.runtime.steady_memory import freeze_gc, thaw_gc

if TYPE_CHECKING:
    from lowlat_seg_ros.ros.camera import Camera
    from lowlat_seg_ros.ros.parameters import Settings
    from lowlat_seg_ros.ros.pipeline import Pipeline

NODE_NAME: Final = "lowlat_seg"
QOS_OVERRIDES: Final = "qos_overrides."
SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class SegmentationNode(GuardedNode):
    """Segments the images of one or several cameras, while it is active.

    configure loads the model and warms up, activate subscribes, deactivate and cleanup undo these. `start()` does both
    for a node that starts by itself.
    """

    def __init__(self, **options: Any) -> None:
        """`options` are those of rclpy's Node (context, parameter_overrides, …)."""
        super().__init__(NODE_NAME, **options)
        self._pipeline: Pipeline | None = None
        self._settings: Settings | None = None
        self._failure: Exception | None = None  # why it could not be configured
        self._unusable: dict[str, ParameterError] = {}  # what was given for parameters that nobody has set since
        self._is_starting = False
        self._is_presenting = False
        self._reported_faults = 0
        self._has_told_namesake = False
        self._heartbeat = Heartbeat(self, self._statuses)
        self.create_service(SetBool, "~/enable", self._enable)

    @property
    def state(self) -> str:
        """unconfigured, inactive, active, finalized, or a transition's name."""
        return str(self._state_machine.current_state[1])

    def prepare(self) -> bool:
        """Declare the parameters, which loads torch; returns whether to start at once, by the parameter `autostart`.

        Raises:
            ParameterError: a parameter's value cannot be used, and the node was to start at once.
        """
        from lowlat_seg_ros.ros.parameters import declare_parameters, given_autostart, unknown_parameters

        autostart = given_autostart(self)
        self._unusable |= declare_parameters(self)
        try:
            self._settings = self._read_settings()
        except ParameterError:
            if autostart:
                raise
        for name in unknown_parameters(self):
            if not name.startswith(QOS_OVERRIDES):
                self.get_logger().warning(f"there is no parameter {printable(name)!r}; its value is ignored")
        self.add_on_set_parameters_callback(self._check_parameters)
        self.add_post_set_parameters_callback(self._apply_parameters)
        return autostart

    def start(self) -> None:
        """Prepare, configure and activate.

        Raises:
            Exception: what kept it from being configured or activated; an Error is a sentence that says what was wrong.
        """
        if self._settings is None:
            self.prepare()
        self._is_starting = True
        try:
            for trigger in (self.trigger_configure, self.trigger_activate):
                if trigger() != SUCCESS:
                    raise self._failure or Error("a transition of the lifecycle failed")
        finally:
            self._is_starting = False

    def stop(self) -> bool:
        """Stop everything; returns whether the slow track's thread ended, which it does between two operators of Sh."""
        self._heartbeat.close()
        return self._close_pipeline()

    # --- lifecycle ---------------------------------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and warm up."""
        return self._try_to(self._configure, "configuring")

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Take images."""
        return self._try_to(self._activate, "activating")

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Take no images."""
        return self._try_to(self._deactivate, "deactivating")

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of the model."""
        return self._let_go()

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """The same, for good; the process goes on until it is told to stop."""
        return self._let_go()

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Back to unconfigured."""
        return self._let_go()

    def _let_go(self) -> TransitionCallbackReturn:
        """Whatever goes wrong in it, there is no way back."""
        self._failure = None
        self.faults.guarded(self._close_pipeline, "an orderly end of the model's use")()
        thaw_gc()
        return SUCCESS

    def _try_to(self, act: Any, doing: str) -> TransitionCallbackReturn:
        self._failure = None
        try:
            with self._heartbeat.at_work(f"Node {doing}"):
                act()
        except Exception as error:
            self._failure = error
            if self._is_starting:
                pass  # `start` raises it
            elif isinstance(error, Error):
                self.get_logger().error(printable(f"{doing} failed: {error}", 1000))
            else:
                self.faults.note(doing, error)
        return SUCCESS if self._failure is None else FAILURE

    def _configure(self) -> None:
        from lowlat_seg_ros.ros.pipeline import Pipeline

        self._settings = self._read_settings()
        self._pipeline = Pipeline(self, self._settings)
        self._present(self._pipeline)
        freeze_gc()

    def _activate(self) -> None:
        from lowlat_seg_ros.ros.parameters import unknown_parameters

        assert self._pipeline is not None
        self._pipeline.subscribe()
        later = set().union(*(camera.later_overrides for camera in self._pipeline.cameras))
        for name in unknown_parameters(self):  # only now: endpoints declare theirs
            if name.startswith(QOS_OVERRIDES) and name not in later:
                self.get_logger().warning(f"{printable(name)} is of no endpoint of this node; its value is ignored")
        self.get_logger().info(self._pipeline.in_words())
        if not self.get_logger().is_enabled_for(LoggingSeverity.INFO):
            print(self._pipeline.in_words(), flush=True)  # the launch file waits for it, whatever is logged

    def _deactivate(self) -> None:
        assert self._pipeline is not None
        self._pipeline.unsubscribe()

    def _close_pipeline(self) -> bool:
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is None:
            return True
        has_ended = pipeline.close()
        if self._settings is not None:
            self._show(self._settings.left_to_the_model())
        return has_ended

    def _enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        """`~/enable`: activate or deactivate a node that is configured."""
        states = {"inactive": self.trigger_activate} if request.data else {"active": self.trigger_deactivate}
        if self.state in states:
            states[self.state]()
        response.success = (self.state == "active") == request.data
        response.message = f"the node is {self.state}"
        return response

    # --- parameters --------------------------------------------------------------------------------------------------

    def _read_settings(self) -> Settings:
        from lowlat_seg_ros.ros.parameters import read_settings

        for error in self._unusable.values():
            raise error
        return read_settings(self)

    def _present(self, pipeline: Pipeline) -> None:
        from lowlat_seg_ros.ros.presented_model import parameters_of

        self._show(parameters_of(pipeline.model))

    def _show(self, parameters: list[Parameter[Any]]) -> None:
        """Let `ros2 param get` answer with what is in use."""
        self._is_presenting = True
        try:
            self.set_parameters(parameters)
        finally:
            self._is_presenting = False

    def set_parameters_atomically(self, parameter_list: list[Parameter[Any]]) -> SetParametersResult:
        """As rclpy's, which names types by their numbers, and takes a parameter without a name."""
        from lowlat_seg_ros.ros.parameters import unsuitable

        for parameter in parameter_list:
            if reason := unsuitable(self, parameter):
                return SetParametersResult(successful=False, reason=reason)
        return super().set_parameters_atomically(parameter_list)

    def _check_parameters(self, parameters: list[Parameter[Any]]) -> SetParametersResult:
        from lowlat_seg_ros.ros.parameters import check_change

        if self._is_presenting or self._settings is None:
            return SetParametersResult(successful=True)
        try:
            check_change(self._settings, parameters, is_configured=self._pipeline is not None)
        except ParameterError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _apply_parameters(self, parameters: list[Parameter[Any]]) -> None:
        from lowlat_seg_ros.ros.parameters import own_values

        for parameter in parameters:
            self._unusable.pop(parameter.name, None)
        if self._is_presenting or self._settings is None:
            return
        self._settings = self._settings.changed(own_values(parameters))
        if self._pipeline is not None:
            self._pipeline.apply(self._settings)

    # --- diagnostics -------------------------------------------------------------------------------------------------

    def _statuses(self) -> list[DiagnosticStatus]:
        cameras = [] if self._pipeline is None else self._pipeline.cameras
        return [self._own_status(), *(self._camera_status(camera) for camera in cameras)]

    def _own_status(self) -> DiagnosticStatus:
        cameras = [] if self._pipeline is None else self._pipeline.cameras
        faults = [self.faults, *(camera.faults for camera in cameras)]
        count = sum(each.count for each in faults)
        new, self._reported_faults = count - self._reported_faults, count
        troubles = []
        if self._failure is not None:
            troubles.append((ERROR, f"the last transition failed: {describe(self._failure)}"))
        if new > 0:
            newest = max(faults, key=lambda each: each.newest_at).newest
            troubles.append((WARN, f"faults since the last report: {new}; {newest}"))
        if self._has_namesake():
            troubles.append((WARN, f"another node is called {self.get_fully_qualified_name()}, too"))
        values = {"state": self.state, "faults": str(count)}
        return _status(
            max((level for level, _ in troubles), default=OK),
            own_status_name(self),
            "; ".join(sentence for _, sentence in troubles) or self.state,
            "" if self._pipeline is None else self._pipeline.hardware,
            values,
        )

    def _has_namesake(self) -> bool:
        own = self.get_name(), self.get_namespace()
        has_one = self.get_node_names_and_namespaces().count(own) > 1
        if has_one and not self._has_told_namesake:
            self.get_logger().warning(
                f"another node is called {self.get_fully_qualified_name()}, too: parameters and services of the two "
                "cannot be told apart"
            )
        self._has_told_namesake = has_one
        return has_one

    def _camera_status(self, camera: Camera) -> DiagnosticStatus:
        assert self._pipeline is not None
        threads, hardware = self._pipeline.threads, self._pipeline.hardware
        counts = {"fast-track threads": str(threads.fast), "slow-track threads": str(threads.slow)}
        name = f"{self.get_fully_qualified_name()}: {camera.raw_topic}"  # stays the same whatever is subscribed to
        try:
            health = camera.report()
        except Exception as error:  # the other cameras' reports come all the same
            camera.faults.note(f"the report on {camera.topic}", error)
            return _status(ERROR, name, f"no report could be made: {describe(error)}", hardware, counts)
        return _status(health.level, name, health.summary, hardware, {**health.values, **counts})


def _status(level: int, name: str, message: str, hardware: str, values: dict[str, str]) -> DiagnosticStatus:
    return DiagnosticStatus(
        level=bytes([level]),
        name=name,
        message=printable(message, 1000),
        hardware_id=hardware,
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
