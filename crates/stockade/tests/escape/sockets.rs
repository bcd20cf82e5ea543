//! Sockets of this host's programs, by their paths and by abstract names.

use crate::attempt::Attempt;

const fn reach(code: &'static str, aim: &'static str) -> Attempt {
    Attempt::new(code, aim).denied_as("EPERM EACCES ENOENT ECONNREFUSED")
}

attempts! {
    [namespaces landlock docker] {
        a_socket_with_a_path_is_not_reached:
            reach("connect(socket.AF_UNIX, socket.SOCK_STREAM, target)", "STREAM"),
        a_socket_of_datagrams_is_not_reached:
            reach("connect(socket.AF_UNIX, socket.SOCK_DGRAM, target)", "DATAGRAM"),
        a_socket_of_packets_is_not_reached:
            reach("connect(socket.AF_UNIX, socket.SOCK_SEQPACKET, target)", "PACKETS"),
        an_abstract_socket_is_not_reached:
            reach("connect(socket.AF_UNIX, socket.SOCK_STREAM, '\\0' + target)", "ABSTRACT_STREAM"),
        an_abstract_socket_of_datagrams_is_not_reached:
            reach("connect(socket.AF_UNIX, socket.SOCK_DGRAM, '\\0' + target)", "ABSTRACT_DATAGRAM"),
        a_pair_of_sockets_sends_to_no_path: reach("send_from_pair(target)", "DATAGRAM"),
        a_pair_of_sockets_sends_to_no_abstract_name:
            reach("send_from_pair('\\0' + target)", "ABSTRACT_DATAGRAM"),
        a_socket_is_not_reached_through_a_link:
            reach("connect(socket.AF_UNIX, socket.SOCK_STREAM, link_to(target))", "STREAM"),
        a_socket_is_not_reached_through_a_descriptor:
            reach("connect(socket.AF_UNIX, socket.SOCK_STREAM, via(target))", "STREAM"),
        a_socket_is_not_reached_through_a_host_processs_root:
            reach("connect(socket.AF_UNIX, socket.SOCK_STREAM, f'/proc/{VICTIM}/root{target}')", "STREAM"),
        a_socket_is_not_moved_into_the_workspace:
            reach("os.rename(target, fresh())", "STREAM").denied_as("EPERM EACCES ENOENT EXDEV"),
    }
    // Without namespaces nothing can listen, so that the twin could reach it.
    [namespaces docker] {
        the_docker_daemon_is_not_reached:
            reach("connect(socket.AF_UNIX, socket.SOCK_STREAM, target)", "DAEMON").beside("own_listener()"),
        the_docker_daemon_is_not_reached_where_it_mostly_is:
            Attempt::new("none_of(target, lambda path: connect(socket.AF_UNIX, socket.SOCK_STREAM, path))",
                "['/run/docker.sock', '/var/run/docker.sock', '/run/podman/podman.sock', \
                '/run/containerd/containerd.sock']")
                .beside("[own_listener()]"),
        the_bus_of_the_system_is_not_reached:
            Attempt::new("none_of(target, lambda path: connect(socket.AF_UNIX, socket.SOCK_STREAM, path))",
                "['/run/dbus/system_bus_socket', '/run/systemd/private', '/run/udev/control', '/dev/log']")
                .beside("[own_listener()]"),
        a_desktop_is_not_reached:
            reach("connect(socket.AF_UNIX, socket.SOCK_STREAM, target)", "'\\0/tmp/.X11-unix/X0'")
                .beside("own_listener(is_abstract=True)"),
        nothing_else_listens_at_an_abstract_name:
            reach("connect(socket.AF_UNIX, socket.SOCK_DGRAM, '\\0' + target)", "ABSTRACT_DATAGRAM")
                .beside("own_listener(socket.SOCK_DGRAM, True)[1:]"),
    }
    [landlock] {
        no_socket_with_a_path_is_made: Attempt::call("own_listener()"),
        no_pair_that_could_send_elsewhere_is_made:
            Attempt::new("socket.socketpair(socket.AF_UNIX, target)", "socket.SOCK_DGRAM")
                .beside("socket.SOCK_STREAM"),
        // In namespaces and containers who shows a folder gives the sockets in it, where Landlock knows nothing of them.
        a_socket_in_a_folder_that_is_shown_is_not_reached:
            reach("connect(socket.AF_UNIX, socket.SOCK_STREAM, target)", "SHOWN_STREAM"),
    }
}
