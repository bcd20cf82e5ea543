//! Servers and clients within one block.

use stockade::CodeBlock;

use crate::{
    places::{Place, fails, is_noted},
    support::{need, python},
};

work! {
    [namespaces docker]
    a_server_is_reached_by_its_own_block
    every_kind_of_local_socket_connects
    asyncio_serves_and_connects
}

work! {
    [namespaces]
    node_serves_and_fetches
    this_machine_has_a_name_that_leads_to_it
}

work! {
    [landlock]
    a_server_fails_with_a_clear_error_and_is_noted
}

work! {
    [namespaces landlock]
    what_needs_a_network_fails_at_once_and_says_so
}

const SERVER: &str = "
import http.server, json, threading, urllib.request

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        numbers = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
        body = json.dumps({'sum': sum(numbers)}).encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass

# Whatever proxy the host has, it is not for this.
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
for address in '127.0.0.1', 'localhost':
    server = http.server.ThreadingHTTPServer((address, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f'http://{address}:{server.server_port}/'
    print(json.load(opener.open(url, json.dumps([1, 2, 3]).encode(), timeout=30)))
    server.shutdown()
    server.server_close()
";

async fn a_server_is_reached_by_its_own_block(place: Place) {
    place.prints(python(SERVER), "{'sum': 6}\n{'sum': 6}\n").await;
}

const SOCKETS: &str = "
import os, socket, tempfile, threading
from multiprocessing.connection import Client, Listener

def ask(family, kind, address):
    server = socket.socket(family, kind)
    server.bind(address)
    def serve():
        if kind == socket.SOCK_STREAM:
            connection, _ = server.accept()
            connection.sendall(connection.recv(100).upper())
            connection.close()
        else:
            data, client = server.recvfrom(100)
            server.sendto(data.upper(), client)
    if kind == socket.SOCK_STREAM:
        server.listen()
    threading.Thread(target=serve).start()
    client = socket.socket(family, kind)
    client.settimeout(30)
    if family == socket.AF_UNIX and kind == socket.SOCK_DGRAM:
        client.bind(address + '.client')
    client.connect(server.getsockname())
    client.send(b'hello')
    return client.recv(100)

print(ask(socket.AF_INET, socket.SOCK_STREAM, ('127.0.0.1', 0)), ask(socket.AF_INET, socket.SOCK_DGRAM, ('127.0.0.1', 0)))
folder = tempfile.mkdtemp()
print(ask(socket.AF_UNIX, socket.SOCK_STREAM, 'in-the-workspace'), ask(socket.AF_UNIX, socket.SOCK_DGRAM, folder + '/in-tmp'))
print(ask(socket.AF_UNIX, socket.SOCK_STREAM, '\\0abstract'))
listener = Listener()
threading.Thread(target=lambda: listener.accept().send({'any': 'object'})).start()
print(Client(listener.address).recv())
";

async fn every_kind_of_local_socket_connects(place: Place) {
    let expected = "b'HELLO' b'HELLO'\nb'HELLO' b'HELLO'\nb'HELLO'\n{'any': 'object'}\n";
    place.prints(python(SOCKETS), expected).await;
}

const STREAMS: &str = "
import asyncio

async def serve(reader, writer):
    writer.write((await reader.readline()).upper())
    await writer.drain()
    writer.close()

async def main():
    server = await asyncio.start_server(serve, 'localhost', 0, family=2)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection('127.0.0.1', port)
    writer.write(b'hello\\n')
    print(await reader.read())
    writer.close()
    server.close()

asyncio.run(main())
";

async fn asyncio_serves_and_connects(place: Place) {
    place.prints(python(STREAMS), "b'HELLO\\n'\n").await;
}

const NODE: &str = "
const http = require('http')
const server = http.createServer((request, response) => response.end('served ' + request.url))
server.listen(0, '127.0.0.1', () => {
  http.get({ port: server.address().port, path: '/page', host: '127.0.0.1' }, async (response) => {
    let text = ''
    for await (const part of response) text += part
    console.log(text)
    server.close()
  })
})
";

async fn node_serves_and_fetches(place: Place) {
    if place.has("node", "node", &["--version"]) {
        place.prints(CodeBlock::new("javascript", NODE), "served /page\n").await;
    }
}

/// Spark, Ray, torch and MPI begin so.
async fn this_machine_has_a_name_that_leads_to_it(place: Place) {
    let code = "import socket\nprint(socket.gethostbyname(socket.gethostname()).split('.')[0])";
    place.prints(python(code), "127\n").await;
}

async fn a_server_fails_with_a_clear_error_and_is_noted(place: Place) {
    let session = place.start().await;
    let denied = "PermissionError: [Errno 13] Permission denied";
    for code in [
        "import http.server\nhttp.server.HTTPServer(('127.0.0.1', 0), http.server.BaseHTTPRequestHandler)",
        "import socket\nsocket.create_connection(('127.0.0.1', 80), 5)",
        "import socket\nsocket.socket(socket.AF_UNIX)",
    ] {
        fails(&session, python(code), denied).await;
    }
    if need::has_program("node", "node", &["--version"]) {
        let code = "require('net').createServer().listen(0, '127.0.0.1')";
        fails(&session, CodeBlock::new("javascript", code), "EACCES").await;
    }
    assert!(is_noted(&session, "no sockets but connected pairs"), "{:?}", session.info());
}

/// Without waiting for a time to run out.
async fn what_needs_a_network_fails_at_once_and_says_so(place: Place) {
    let code = "
import time, urllib.request
opener, started = urllib.request.build_opener(urllib.request.ProxyHandler({})), time.monotonic()
for url in 'http://192.0.2.1/', 'https://example.org/':
    try:
        opener.open(url, timeout=60)
    except OSError as error:
        print(type(error).__name__, time.monotonic() - started < 15)
";
    place.prints(python(code), "URLError True\nURLError True\n").await;
}
