//! The network: every family of sockets, this host's own ports, and whoever is further away. A container has a network by
//! default, but not this host's.

use crate::attempt::Attempt;

/// Making a socket is denied, or answered: a kernel may lack the family.
const fn family(code: &'static str) -> Attempt {
    Attempt::call(code).denied_as("EPERM EACCES")
}

attempts! {
    [namespaces landlock docker] {
        a_port_of_this_host_is_not_reached:
            Attempt::new("connect(socket.AF_INET, socket.SOCK_STREAM, ('127.0.0.1', target))", "TCP")
                .denied_as(NOBODY),
        a_port_of_this_host_is_not_reached_by_a_datagram:
            Attempt::new("ask(socket.AF_INET, ('127.0.0.1', target))", "UDP").denied_as(NOBODY),
        a_port_of_this_host_is_not_reached_at_no_address:
            Attempt::new("connect(socket.AF_INET, socket.SOCK_STREAM, ('0.0.0.0', target))", "TCP")
                .denied_as(NOBODY),
        a_port_of_this_host_is_not_reached_by_the_newer_protocol:
            Attempt::new("connect(socket.AF_INET6, socket.SOCK_STREAM, ('::1', target))", "TCP6")
                .denied_as(NOBODY),
        a_port_of_this_host_is_not_reached_at_a_mapped_address:
            Attempt::new("connect(socket.AF_INET6, socket.SOCK_STREAM, ('::ffff:127.0.0.1', target))", "TCP")
                .denied_as(NOBODY),
    }
    // The loopback interface is all there is, if there is that.
    [namespaces] {
        no_other_machine_is_reached:
            Attempt::new("connect(socket.AF_INET, socket.SOCK_STREAM, (target, own_port()))", "'192.0.2.1'")
                .denied_as("ENETUNREACH").beside("'127.0.0.1'"),
        no_datagram_gets_to_another_machine:
            Attempt::new("connect(socket.AF_INET, socket.SOCK_DGRAM, (target, 53))", "'192.0.2.1'")
                .denied_as("ENETUNREACH").beside("'127.0.0.1'"),
        no_other_machine_is_reached_by_the_newer_protocol:
            Attempt::new("connect(socket.AF_INET6, socket.SOCK_DGRAM, (target, 53))", "'2001:db8::1'")
                .denied_as("ENETUNREACH").beside("'::1'"),
        no_name_is_looked_up_elsewhere:
            Attempt::new("socket.getaddrinfo(target, 80)", "'example.com'").denied_as("EAI")
                .beside("'localhost'"),
        there_is_no_interface_but_loopback:
            Attempt::new("if not target(name for _, name in socket.if_nameindex()): raise \
                OSError(errno.ENODEV, 'none')",
                "lambda names: {*names} - {'lo'}").denied_as("ENODEV").beside("lambda names: {*names}"),
    }
    // Without namespaces there are no sockets at all.
    [landlock] {
        no_socket_of_the_internet_is_made: family("socket.socket(socket.AF_INET, socket.SOCK_STREAM)"),
        no_datagram_socket_is_made: family("socket.socket(socket.AF_INET, socket.SOCK_DGRAM)"),
        no_socket_of_the_newer_protocol_is_made:
            family("answered(socket.socket, socket.AF_INET6, socket.SOCK_STREAM)"),
        no_socket_asks_for_routes: family("socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)"),
        no_name_is_looked_up:
            Attempt::new("socket.getaddrinfo(target, 80)", "'example.com'").denied_as("EAI")
                .beside("'192.0.2.1'"),
    }
    // A container's network is its own, and of the other families Docker's filter denies what its version knows: of
    // sockets for virtual machines (vsock) only from 23 on.
    [namespaces landlock] {
        no_virtual_machine_is_reached: family("answered(socket.socket, 40, socket.SOCK_STREAM)"),
        no_raw_socket_is_made:
            family("answered(socket.socket, socket.AF_INET, socket.SOCK_RAW, 1)").open_to_root(),
        no_raw_socket_of_the_newer_protocol_is_made:
            family("answered(socket.socket, socket.AF_INET6, socket.SOCK_RAW, 58)").open_to_root(),
        no_packets_are_seen:
            family("answered(socket.socket, socket.AF_PACKET, socket.SOCK_RAW, 0x300)").open_to_root(),
        no_packets_are_seen_without_their_headers:
            family("answered(socket.socket, socket.AF_PACKET, socket.SOCK_DGRAM, 0)").open_to_root(),
        the_kernel_tells_nothing_of_devices:
            family("answered(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW, 15)"),
        the_kernel_tells_nothing_of_audits:
            family("answered(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW, 9)"),
        the_kernel_tells_nothing_of_sockets:
            family("answered(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW, 4)"),
        the_kernel_takes_no_rules_of_a_firewall:
            family("answered(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW, 12)"),
        the_kernel_takes_no_policies_of_encryption:
            family("answered(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW, 6)"),
        no_other_part_of_the_kernel_is_spoken_to:
            family("answered(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW, 16)"),
        the_kernels_ciphers_are_not_reached: family("answered(socket.socket, 38, socket.SOCK_SEQPACKET)"),
        bluetooth_is_not_reached: family("answered(socket.socket, 31, socket.SOCK_RAW, 1)"),
        a_field_bus_is_not_reached: family("answered(socket.socket, 29, socket.SOCK_RAW, 1)"),
        clusters_are_not_reached: family("answered(socket.socket, 30, socket.SOCK_SEQPACKET)"),
        remote_memory_is_not_reached: family("answered(socket.socket, 21, socket.SOCK_SEQPACKET)"),
        keys_of_encryption_are_not_reached: family("answered(socket.socket, 15, socket.SOCK_RAW, 2)"),
        express_packets_are_not_reached:
            family("answered(socket.socket, 44, socket.SOCK_RAW)").open_to_root(),
        near_fields_are_not_reached: family("answered(socket.socket, 39, socket.SOCK_RAW)"),
        multiplexers_are_not_reached: family("answered(socket.socket, 41, socket.SOCK_DGRAM)"),
        // Of a pair as well as of one.
        no_pair_of_another_family_is_made: family("answered(socket.socketpair, 30, socket.SOCK_SEQPACKET)"),
    }
}

/// Not allowed, or nobody there.
const NOBODY: &str = "EPERM EACCES ECONNREFUSED ENETUNREACH EADDRNOTAVAIL EAFNOSUPPORT";
